import { describe, expect, it } from 'vitest';

import { read } from '../model/read';
import { retryAfter } from './stream';

describe('what comes from the gateway', () => {
  it('is an event only if it is known and whole', () => {
    expect(read('status', '{"vm":"a","stage":"ready"}')).toMatchObject({ name: 'status', data: { vm: 'a' } });
    expect(read('task_complete', '{"vm":"a","run":"r","key":"k"}', 'e-1.0')).toMatchObject({ id: 'e-1.0' });
    for (const [name, data] of [
      ['status', '{"stage":"ready"}'],
      ['progress', '{"vm":"a"}'],
      ['task_complete', '{"vm":"a","run":"r"}'],
      ['status', '{"vm":'],
      ['status', 'null'],
      ['weather', '{"vm":"a"}'],
    ] as const) {
      expect(read(name, data), `${name} ${data}`).toBeNull();
    }
    expect(read(undefined, '{}')).toBeNull();
  });

  it('may ask for patience in whole seconds', () => {
    expect([retryAfter('7'), retryAfter(' 0 '), retryAfter('-1'), retryAfter('soon'), retryAfter(null)]).toEqual([7, 0, null, null, null]);
  });
});
