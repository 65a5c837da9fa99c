// All VMs, a card each.

import { useEffect, useMemo, useRef, useState } from 'preact/hooks';

import { hears } from '../../link/machine';
import { chosen, summary, type Filter, type SortBy } from '../../model/derive';
import type { Page } from '../../store/store';
import { usePage } from '../../store/store';
import { some } from '../../ui/format';
import { Empty, Said } from '../../ui/parts';
import { Card } from './card';
import { usePollers } from './pollers';

const vmsOf = (page: Page) => page.fleet.vms;
const beyondOf = (page: Page) => page.fleet.beyond;
const heardOf = (page: Page) => hears(page.connection);

const KEPT = 'gatewatch-filter';
const FIRST: Filter = { text: '', sort: 'name', only: 'all' };

function kept(): Filter {
  try {
    return { ...FIRST, ...(JSON.parse(sessionStorage.getItem(KEPT) ?? '{}') as Partial<Filter>) };
  } catch {
    return FIRST;
  }
}

export function FleetView() {
  const vms = usePage(vmsOf);
  const beyond = usePage(beyondOf);
  const heard = usePage(heardOf);
  const by = usePollers(heard);
  const [filter, setFilter] = useState(kept);
  const change = (part: Partial<Filter>) => setFilter({ ...filter, ...part });
  useEffect(() => sessionStorage.setItem(KEPT, JSON.stringify(filter)), [filter]);
  const all = useMemo(() => [...vms.values()], [vms]);
  const shown = useMemo(() => chosen(all, filter), [all, filter]);
  return (
    <section class="fleet" aria-label="Fleet">
      <h1 class="visually-hidden">Fleet</h1>
      <Tools filter={filter} change={change} all={all.length} shown={shown.length} />
      <Totals vms={all} />
      {beyond > 0 && <p class="banner banner-warn">There are more VMs than this page shows.</p>}
      {all.length === 0 && <Empty>{heard ? 'This credential sees no VM, or none is configured.' : 'Nothing known yet.'}</Empty>}
      {all.length > 0 && shown.length === 0 && <Empty>No VM matches.</Empty>}
      <div class="cards">
        {shown.map((vm) => (
          <Card key={vm.name} vm={vm} poller={by.get(vm.name)} />
        ))}
      </div>
    </section>
  );
}

function Totals({ vms }: { vms: Parameters<typeof summary>[0] }) {
  const { running, broken } = summary(vms);
  return (
    <p class="totals">
      {some(vms.length, 'VM')}, <span>{running} running</span>
      {broken > 0 && <strong class="broken">, {broken} in trouble</strong>}
    </p>
  );
}

interface ToolProps {
  filter: Filter;
  change: (part: Partial<Filter>) => void;
  all: number;
  shown: number;
}

function Tools({ filter, change, all, shown }: ToolProps) {
  const input = useRef<HTMLInputElement>(null);
  const count = `${shown} of ${all} shown`;
  return (
    <div class="tools" role="search">
      <input
        ref={input}
        id="filter"
        type="search"
        placeholder="Filter by name, stage or task"
        aria-label="Filter VMs"
        value={filter.text}
        onInput={(event) => change({ text: event.currentTarget.value })}
      />
      <label>
        Show{' '}
        <select value={filter.only} onChange={(event) => change({ only: event.currentTarget.value as Filter['only'] })}>
          <option value="all">all</option>
          <option value="running">running</option>
          <option value="trouble">in trouble</option>
        </select>
      </label>
      <label>
        Sort by{' '}
        <select value={filter.sort} onChange={(event) => change({ sort: event.currentTarget.value as SortBy })}>
          <option value="name">name</option>
          <option value="stage">stage</option>
          <option value="trouble">trouble first</option>
        </select>
      </label>
      <span class="hint">{shown < all ? count : ''}</span>
      <Said cause={filter} words={count} />
    </div>
  );
}
