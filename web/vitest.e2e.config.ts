import { defineConfig } from 'vitest/config';

// One browser and one gateway at a time: these tests share a small machine.
export default defineConfig({
  test: {
    include: ['e2e/**/*.test.ts'],
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 60_000,
  },
});
