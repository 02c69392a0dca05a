import { expect, test } from 'vitest'
import { bufferCore } from '../../../tests/support/cli.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { err } from '../../base/result.ts'
import { systemRandom } from '../../base/system.ts'
import { failure } from '../../contracts/errors.ts'
import type { Core, SignalName } from '../core.ts'
import { output } from '../output.ts'
import { takePlace } from './place.ts'
import { serveOn } from './serve.ts'

test('what fails to end is told, the rest ends all the same, and the directory is free again', async () => {
  const dir = await tmpDir()
  const { core, err } = bufferCore()
  const ended: string[] = []
  const outcome = await serveOn(core, output(core, false), dir, 'server', async ({ cleanup }) => {
    cleanup.add('first', () => ended.push('first'))
    cleanup.add('stuck part', () => {
      throw new Error('will not close')
    })
    return { ok: true, value: 0 }
  })
  expect(outcome).toEqual({ ok: true, value: 0 })
  expect(ended).toEqual(['first'])
  expect(err()).toContain('Ending the stuck part failed: will not close')
  const again = await takePlace(dir, 'server', process.pid, systemRandom)
  if (!again.ok) throw new Error(again.error.detail)
  await again.value.leave()
})

test('a start that a signal gave up is an orderly end; one that was cancelled by itself is not', async () => {
  let send: (signal: SignalName) => void = () => undefined
  const { core, err: said } = bufferCore()
  const listening: Core = {
    ...core,
    onSignal: (_, run) => {
      send = run
      return () => undefined
    },
  }
  const cancelled = err(failure('cancelled', 'given up'))
  const serve = (work: () => void) =>
    tmpDir().then((dir) =>
      serveOn(listening, output(listening, false), dir, 'server', async () => {
        work()
        return cancelled
      }),
    )
  expect(await serve(() => send('SIGINT'))).toEqual({ ok: true, value: 0 })
  expect(said()).toContain('stopped before it had started')
  expect(await serve(() => undefined)).toEqual(cancelled)
})
