import { duration } from '../flags.ts'
import { verb } from '../verb.ts'

const TIMEOUT_MS = 120_000

export const down = verb({
  name: 'down',
  args: '',
  group: 'Platform',
  summary: 'Stop the workloads of the local platform, then the platform itself',
  more: 'What should run stays written down: the next "holdfast up" on the same data directory starts it again.',
  flags: { timeout: duration('--timeout <time>', 'give up after this long (default 2m)') },
  async run({ core, out, flags }) {
    const { runDown } = await import('../run/down.ts')
    return runDown(core, out, { dataDir: flags.dataDir, timeoutMs: flags.timeout ?? TIMEOUT_MS })
  },
})
