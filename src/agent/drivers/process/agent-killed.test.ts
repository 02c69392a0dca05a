// The agent is killed in the middle of starting things, again and again: whatever it had begun is either there once or not at all.
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { systemClock, systemRandom } from '../../../base/system.ts'
import { Bench, must, until } from '../conformance-kit.ts'
import type { Wanted } from '../driver.ts'
import { type ProcessHarness, processHarness } from './conformance-harness.ts'
import { readVariable } from './proc.ts'

const ROUNDS = 8
const PER_ROUND = 12

/** An agent that does nothing but start what it is given, one after the other, and print the id of each as it begins. */
function agentProcess(stateDir: string, wants: readonly Wanted[]): ChildProcess {
  const url = (file: string) => JSON.stringify(new URL(file, import.meta.url).href)
  const program = `
    import { createProcessDriver } from ${url('./driver.ts')}
    import { systemClock, systemRandom } from ${url('../../../base/system.ts')}
    import { silentLogger } from ${url('../../../base/log.ts')}
    const driver = createProcessDriver({ stateDir: ${JSON.stringify(stateDir)}, nodeId: 'test', clock: systemClock, random: systemRandom, log: silentLogger, cgroupRoot: '/nonexistent' })
    for (const want of ${JSON.stringify(wants)}) {
      console.log(want.id)
      void driver.start(want, new AbortController().signal)
      await systemClock.sleep(2)
    }
    await systemClock.sleep(60_000)`
  return spawn(process.execPath, ['--input-type=module-typescript', '--eval', program], { stdio: ['ignore', 'pipe', 'inherit'] })
}

const nonces = (harness: ProcessHarness) =>
  harness.living().flatMap((pid) => {
    const nonce = readVariable(pid, 'HOLDFAST_NONCE')
    return nonce.kind === 'value' ? [nonce.value] : []
  })

describeNeeds('perl', 'process driver: an agent that is killed', () => {
  test('nothing is started twice, nothing that began is lost, and every start can be finished by the next agent', {
    timeout: 120_000,
  }, async () => {
    const harness = processHarness(await tmpDir())
    const bench = new Bench(harness)
    onTestFinished(async () => {
      await bench.driver[Symbol.asyncDispose]()
      await harness.dispose()
    })
    mkdirSync(join(harness.stateDir, 'instances'), { recursive: true })
    let adopted = 0
    for (let round = 0; round < ROUNDS; round += 1) {
      const wants = Array.from({ length: PER_ROUND }, () => bench.want({ kind: 'run' }, { command: ['/bin/sleep', '600'] }))
      const agent = agentProcess(harness.stateDir, wants)
      await new Promise((resolve) => agent.stdout?.once('data', resolve))
      await systemClock.sleep(systemRandom.fraction() * 40)
      agent.kill('SIGKILL')
      const listing = must(await bench.driver.list(bench.signal))
      assert.equal(listing.complete, true)
      const running = listing.seen.filter((seen) => wants.some((want) => want.id === seen.id))
      assert.ok(
        running.every((seen) => seen.state === 'running' && seen.matches),
        JSON.stringify(running),
      )
      adopted += running.length
      const finished = await Promise.all(wants.map((want) => bench.driver.start(want, bench.signal)))
      for (const seen of running)
        assert.ok(
          finished.some((result) => must(result).pid === seen.pid),
          'what ran goes on running',
        )
      const ours = nonces(harness).filter((nonce) => wants.some((want) => want.nonce === nonce))
      assert.deepEqual(ours.sort(), wants.map((want) => want.nonce).sort(), 'each exactly once')
      await Promise.all(wants.map((want) => bench.driver.remove(want, bench.signal)))
    }
    assert.ok(adopted > 0, 'some were under way or running when their agent was killed')
    await until('nothing is left', () => harness.living().length === 0)
  })
})
