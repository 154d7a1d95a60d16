import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    pool: 'forks',
    // Vitest leaves one processor idle, and most of the time of this suite is spent waiting for leases, engines and links
    maxWorkers: 2,
    // isolated-vm demands it; without effect elsewhere
    execArgv: ['--no-node-snapshot'],
    include: ['protocol/**/*.test.ts', 'daemon/**/*.test.ts', 'sdk/**/*.test.ts', 'test/**/*.test.ts'],
    exclude: ['**/node_modules/**', 'test/fixtures/**'],
    globalSetup: ['test/support/engine-setup.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
  },
})
