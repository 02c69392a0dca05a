// Parts of the platform itself, named by flags: the agent, the control plane, PostgreSQL, a Docker Engine. Whatever supervises them has to start
// them again; instances have to live through it, and one that is killed meanwhile has to come back.
import { readFileSync } from 'node:fs'
import { err, OK, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { Rig, Strike } from './rig.ts'
import type { PartName, Scenario, ScenarioOptions } from './scenario.ts'
import { signalIfAlive } from './signal.ts'
import { exponentialMs } from './statistics.ts'

/** What the command line of such a process has to contain; a pid that names something else is not touched. */
const LOOKS_LIKE: Readonly<Record<PartName, RegExp>> = {
  agent: /holdfast/,
  control: /holdfast/,
  postgres: /postgres/,
  dockerd: /dockerd/,
}
const TITLES: Readonly<Record<PartName, string>> = {
  agent: 'the agent',
  control: 'the control plane',
  postgres: 'PostgreSQL',
  dockerd: 'the Docker Engine',
}

/** The pid of a part, if it is one; read anew each time, since it changes. */
export function partPid(options: ScenarioOptions, part: PartName): Result<number, Failure> {
  const pid = options.parts.pid(part)
  const flag = `--${part}-pid`
  if (pid === null)
    return err(
      failure('invalid_input', `This needs ${flag}: the pid of ${TITLES[part]} of the test, or a file that holds it.`, { field: flag }),
    )
  let words = ''
  try {
    words = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    // It is away; the words stay empty.
  }
  if (LOOKS_LIKE[part].test(words)) return { ok: true, value: pid }
  return err(failure('invalid_input', `Process ${pid} is not ${TITLES[part]}; it was not touched.`, { field: flag }))
}

interface PartFault {
  readonly name: string
  readonly part: PartName
  readonly does: string
  readonly signal: 'SIGKILL' | 'SIGSTOP'
  /** A stopped part goes on after this long. */
  readonly hangMs?: number
  readonly cause?: RegExp
}

function partScenario({ name, part, does, signal, hangMs, cause }: PartFault): Scenario {
  return {
    name,
    does,
    needs: `--${part}-pid${signal === 'SIGKILL' ? ', and a supervisor that starts it again' : ''}${part === 'dockerd' ? ', --runtime docker, an engine of the test alone' : ''}`,
    control: false,
    usual: { instances: 4, faults: 3, everyMs: 3000, watchMs: 90_000 },
    async run(rig, options) {
      const first = partPid(options, part)
      if (!first.ok) return first
      const launched = await rig.launch(options.instances, 'chaos', options.launch)
      if (!launched.ok) return launched
      rig.warmUpFor(0)
      for (let made = 0; made < options.faults; made += 1) {
        await rig.clock.sleep(exponentialMs(rig.random, options.everyMs))
        const pid = partPid(options, part)
        if (!pid.ok) return pid
        const target = launched.value[made % launched.value.length] ?? null
        const alone: Strike = {
          // About one instance only for the sake of `why`.
          target: cause ? target : null,
          kind: `${signal} of ${TITLES[part]}`,
          group: name,
          expects: 'trouble',
          apply: () => void process.kill(pid.value, signal),
          ...(hangMs !== undefined && { lift: { afterMs: hangMs, run: () => signalIfAlive(pid.value, 'SIGCONT') } }),
          ...(cause && { cause, whyAfterMs: hangMs === undefined ? 500 : hangMs - 500 }),
          until: wholeAgain(rig, hangMs === undefined),
          watchMs: options.watchMs,
        }
        await Promise.all([rig.strike(alone), part === 'dockerd' ? null : killMeanwhile(rig, options, name, made)])
      }
      return OK
    },
  }
}

/** What was killed is not whole in the moments before anybody has noticed: it counts from when it was seen to be away, or a while after. */
function wholeAgain(rig: Rig, killed: boolean): () => Promise<boolean> {
  const untilMs = rig.clock.elapsedMs() + UNNOTICED_MS
  let seenAway = !killed
  return async () => {
    const whole = await rig.host.whole()
    seenAway ||= !whole || rig.clock.elapsedMs() > untilMs
    return whole && seenAway
  }
}

/** One instance dies while the part is away. */
async function killMeanwhile(rig: Rig, options: ScenarioOptions, name: string, made: number): Promise<void> {
  const target = rig.targets[(made + 1) % rig.targets.length]
  const pid = target && rig.ownPid(target)
  if (!target || pid === null || pid === undefined) return
  await rig.strike({
    target,
    kind: 'SIGKILL',
    group: `kill during ${name}`,
    expects: 'recovery',
    apply: () => void process.kill(pid, 'SIGKILL'),
    watchMs: options.watchMs,
  })
}

const HANG_MS = 6000
const UNNOTICED_MS = 5000

export const PART_SCENARIOS: readonly Scenario[] = [
  partScenario({
    name: 'agent-kill',
    part: 'agent',
    does: 'kills the agent, and an instance while it is away',
    signal: 'SIGKILL',
    cause: /not connected|found running when the agent started|started again/,
  }),
  partScenario({
    name: 'control-kill',
    part: 'control',
    does: 'kills the control plane, and an instance while it is away',
    signal: 'SIGKILL',
  }),
  partScenario({ name: 'postgres-kill', part: 'postgres', does: 'kills PostgreSQL, and an instance while it is away', signal: 'SIGKILL' }),
  partScenario({
    name: 'dockerd-kill',
    part: 'dockerd',
    does: 'kills the Docker Engine; what it ended with it has to come back',
    signal: 'SIGKILL',
  }),
  partScenario({
    name: 'dockerd-hang',
    part: 'dockerd',
    does: `stops the Docker Engine for ${HANG_MS / 1000} s by SIGSTOP; nothing may be concluded from its silence`,
    signal: 'SIGSTOP',
    hangMs: HANG_MS,
  }),
]
