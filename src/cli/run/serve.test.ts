import { expect, test } from 'vitest'
import { bufferCore } from '../../../tests/support/cli.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { systemRandom } from '../../base/system.ts'
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
