// Memory and disk that run out.
import { open, rm } from 'node:fs/promises'
import path from 'node:path'
import { err, OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { eachOnce } from './each-once.ts'
import { order } from './heartbeat.ts'
import type { Rig } from './rig.ts'
import type { Scenario } from './scenario.ts'

export const memoryPressure: Scenario = {
  name: 'memory-pressure',
  does: 'lets an instance take more memory than its cap; the cap has to end it, and it has to come back',
  needs: 'a node that enforces memory caps (cgroup, or --runtime docker)',
  control: false,
  usual: { instances: 3, faults: 3, everyMs: 1000, watchMs: 60_000 },
  async run(rig, options) {
    const launched = await rig.launch(options.instances, 'chaos', options.launch)
    if (!launched.ok) return launched
    const [first] = launched.value
    const notes = first ? await rig.host.notes(first) : []
    if (notes.some((note) => note.includes('not enforced')))
      return err(failure('invalid_input', `No memory cap to run into: ${notes.join(' ')}`))
    rig.warmUpFor(0)
    await eachOnce(rig, launched.value, options, (target) =>
      rig.strike({
        target,
        kind: 'takes 256 MiB',
        group: 'memory',
        expects: 'recovery',
        cause: /memory limit exceeded/,
        apply: () => order(rig.oracle.port(target.name) ?? 0, 'eat 256'),
        whyAfterMs: 2000,
        watchMs: options.watchMs,
      }),
    )
    return OK
  },
}

const FULL_MS = 6000
/** A file system of this size is no small one of a test. */
const FILL_BYTES_MAX = 2 * 2 ** 30
const PIECE = Buffer.alloc(2 ** 20, 1)

export const fullDisk: Scenario = {
  name: 'full-disk',
  does: `fills a small file system for ${FULL_MS / 1000} s and kills an instance meanwhile`,
  needs: '--fill: a directory on the file system of the agent or the database of the test, at most 2 GiB free',
  control: false,
  usual: { instances: 3, faults: 2, everyMs: 2000, watchMs: 120_000 },
  async run(rig, options) {
    const { fillDir } = options.parts
    if (fillDir === null)
      return err(failure('invalid_input', 'This needs --fill: a directory on a small file system of the test.', { field: 'fill' }))
    const launched = await rig.launch(options.instances, 'chaos', options.launch)
    if (!launched.ok) return launched
    rig.warmUpFor(0)
    for (let made = 0; made < options.faults; made += 1) {
      const target = launched.value[made % launched.value.length]
      const filled = await fill(path.join(fillDir, `chaos-${rig.run}`))
      if (!filled.ok) return filled
      const pid = target && rig.ownPid(target)
      const victim =
        target && pid
          ? rig.strike({
              target,
              kind: 'SIGKILL',
              group: 'kill while the disk is full',
              expects: 'recovery',
              // Of the two that were done either may be what keeps it down.
              cause: /ended by SIGKILL|^The disk of its node takes no records: disk_full|^The database takes no records/,
              whyAfterMs: 2000,
              apply: () => void process.kill(pid, 'SIGKILL'),
              watchMs: options.watchMs,
            })
          : null
      await rig.clock.sleep(FULL_MS)
      await rm(filled.value, { force: true })
      await victim
      await wellAgain(rig, options.watchMs)
    }
    return OK
  },
}

const wellAgain = (rig: Rig, watchMs: number) =>
  rig.strike({
    target: null,
    kind: 'room again',
    group: 'full disk',
    expects: 'trouble',
    apply: () => {},
    until: () => rig.host.whole(),
    watchMs,
  })

/** Until there is no room; never more than `FILL_BYTES_MAX`, and what it wrote is removed if that is reached. */
async function fill(file: string): Promise<Result<string, Failure>> {
  const handle = await open(file, 'wx')
  try {
    for (let bytes = 0; bytes < FILL_BYTES_MAX; bytes += PIECE.length) await handle.appendFile(PIECE)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOSPC') return { ok: true, value: file }
    throw error
  } finally {
    await handle.close()
  }
  await rm(file, { force: true })
  return err(
    failure('invalid_input', `${path.dirname(file)} has more than 2 GiB of room, so it is not a small file system of a test.`, {
      field: 'fill',
    }),
  )
}
