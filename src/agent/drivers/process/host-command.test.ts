// A command of the operator on the node: the real forge, real processes.
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { waitFor } from '../../../../tests/support/wait.ts'
import { createHostCommand } from './host-command.ts'

const never = new AbortController().signal

async function script(text: string) {
  const dir = await tmpDir()
  const file = path.join(dir, 'hook')
  await writeFile(file, `#!/bin/sh\n${text}\n`, { mode: 0o755 })
  const made = createHostCommand(dir, [file, dir, 'two words'])
  onTestFinished(() => made.close())
  return { dir, made, read: () => readFile(path.join(dir, 'out'), 'utf8').catch(() => '') }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

describeNeeds(['perl'], 'a command on the node', () => {
  test('gets the line as its input and its arguments as they are, nothing else of ours; its exit code is the answer', async () => {
    const { made, read } = await script('cat > "$1/out"; printf "%s|%s|%s" "$2" "$(pwd)" "${HOLDFAST_HOOK-unset}" >> "$1/out"; exit 7')
    const line = `{"name":"it's \\"q\\" $HOME \`x\` %s \\\\n"}\n`
    expect(await made.run(line, never)).toEqual({ ok: true, value: 7 })
    expect(await read()).toBe(`${line}two words|/|unset`)
  })

  test('one that reads nothing is well, also with a line larger than a pipe', async () => {
    const { made } = await script('exit 0')
    expect(await made.run(`${'x'.repeat(100_000)}\n`, never)).toEqual({ ok: true, value: 0 })
  })

  test('aborted, all that it forked is gone with it', async () => {
    const { made, read } = await script('sleep 600 & echo $! $$ > "$1/out"; wait')
    const controller = new AbortController()
    const answer = made.run('{}\n', controller.signal)
    const pids = await waitFor(async () => (/^\d+ \d+\n$/.test(await read()) ? (await read()).trim().split(' ').map(Number) : undefined), {
      what: 'it runs',
      deadlineMs: 20_000,
    })
    controller.abort()
    await answer
    await waitFor(() => !pids.some(isAlive), { what: 'nothing of it runs', deadlineMs: 20_000 })
  })

  test('a program that is not there is a failure, not an exception', async () => {
    const dir = await tmpDir()
    const made = createHostCommand(dir, [path.join(dir, 'missing')])
    onTestFinished(() => made.close())
    expect(await made.run('{}\n', never)).toMatchObject({ ok: true, value: 127 })
  })
})
