import { expect, test } from 'vitest'
import { err, OK, ok } from '../../base/result.ts'
import { failure } from '../../contracts/errors.ts'
import { type CloudState, planCommands, runCommands } from './commands.ts'
import type { GuestCommand, GuestFiles } from './guest.ts'
import { cloudPlan } from './plan.ts'

const signal = () => new AbortController().signal
const guest = (...present: string[]): GuestFiles => ({
  stat: async (path) => ok(present.includes(path) ? { kind: 'file', path, sizeBytes: 1 } : null),
  read: async () => ok(null),
  unpack: async () => OK,
})
async function plan(text: string, ...present: string[]) {
  const parsed = cloudPlan(text, [])
  if (!parsed.ok) throw new Error(parsed.error.detail)
  return planCommands(parsed.value, guest(...present), signal())
}
const argvs = (commands: readonly GuestCommand[]) => commands.map((command) => command.argv)
const keep = (note: (state: CloudState) => unknown) => async (state: CloudState) => {
  note(state)
  return OK
}
const todo = (...steps: string[]): CloudState => ({
  status: { done: false, steps: [], unsupported: [] },
  todo: steps.map((step) => ({ step, argv: [step], stdin: null, env: [], timeoutMs: 1 })),
  begun: false,
})

test('packages first, so that runcmd finds what they brought; then runcmd in order, text through sh, lists as they are', async () => {
  const { commands } = await plan('#cloud-config\nruncmd:\n- echo a; b\n- [sh, -c, "x y"]\npackages: [curl]\n', '/bin/sh', '/sbin/apk')
  expect(argvs(commands)).toEqual([
    ['/sbin/apk', 'add', '--no-cache', 'curl'],
    ['/bin/sh', '-c', 'echo a; b'],
    ['sh', '-c', 'x y'],
  ])
})

test('a script goes in by standard input, so its size is not bounded by an argument and no file of it stays', async () => {
  const text = `#!/bin/sh -e\n#${'x'.repeat(200_000)}\n`
  const { commands } = await plan(text)
  expect(commands[0]).toMatchObject({ step: 'script', argv: ['/bin/sh', '-e', '/dev/stdin'], stdin: text })
})

test('a command of more than 128 KiB is not passed as an argument', async () => {
  const { commands } = await plan(`#cloud-config\nruncmd:\n- "echo ${'x'.repeat(140_000)}"\n`, '/bin/sh')
  expect(commands[0]?.argv).toEqual(['/bin/sh', '/dev/stdin'])
  expect(commands[0]?.stdin?.length).toBe(140_005)
})

test('without a shell text commands are failed steps and listed as unsupported, lists are still run', async () => {
  const { commands, failed, unsupported } = await plan('#cloud-config\nruncmd: [echo a, [/bin/sleep, "0"]]\n')
  expect(argvs(commands)).toEqual([['/bin/sleep', '0']])
  expect(failed).toEqual([{ step: 'runcmd[0]', ok: false, exitCode: null, output: 'the image has no /bin/sh' }])
  expect(unsupported).toEqual(['runcmd[0]: the image has no /bin/sh'])
})

test.each([
  ['/usr/bin/apt-get', [['update'], ['upgrade', '-y'], ['install', '-y', 'a', 'b=1']]],
  ['/sbin/apk', [['update'], ['upgrade', '--no-cache'], ['add', '--no-cache', 'a', 'b=1']]],
  ['/usr/bin/dnf', [['makecache'], ['upgrade', '-y'], ['install', '-y', 'a', 'b-1']]],
])('packages by %s', async (tool, want) => {
  const { commands } = await plan('#cloud-config\npackages: [a, [b, "1"]]\npackage_update: true\npackage_upgrade: true\n', tool)
  expect(argvs(commands)).toEqual(want.map((words) => [tool, ...words]))
})

test('C24: packages without a package tool are a failed step of their own', async () => {
  const { commands, failed } = await plan('#cloud-config\npackages: [a]\nruncmd: [[x]]\n')
  expect([argvs(commands), failed.map((step) => step.step)]).toEqual([[['x']], ['packages']])
})

test('each step`s exit code and output are kept, and a failing one does not stop the next', async () => {
  const saved: CloudState[] = []
  const run = async ({ argv }: GuestCommand) =>
    argv[0] === 'b' ? err(failure('exec_failed', 'no way')) : ok({ exitCode: argv[0] === 'a' ? 3 : 0, output: `out ${argv[0]}` })
  const ended = await runCommands({ run, save: keep((state) => saved.push(state)) }, todo('a', 'b', 'c'), signal())
  expect(ended.ok && ended.value).toEqual({
    status: {
      done: true,
      unsupported: [],
      steps: [
        { step: 'a', ok: false, exitCode: 3, output: 'out a' },
        { step: 'b', ok: false, exitCode: null, output: 'no way' },
        { step: 'c', ok: true, exitCode: 0, output: 'out c' },
      ],
    },
    todo: [],
    begun: false,
  })
  expect(saved.at(-1)?.todo).toEqual([])
})

test('an agent killed at any instant: going on from what was saved runs every command at most once and forgets none', async () => {
  // The saved state before each instant is a point where the agent may die; from each a second agent takes over.
  const points: { state: CloudState; ran: readonly string[] }[] = [{ state: todo('a', 'b', 'c'), ran: [] }]
  const first: string[] = []
  const run =
    (ran: string[]) =>
    async ({ argv }: GuestCommand) => {
      ran.push(String(argv[0]))
      return ok({ exitCode: 0, output: '' })
    }
  await runCommands({ run: run(first), save: keep((state) => points.push({ state, ran: [...first] })) }, todo('a', 'b', 'c'), signal())
  expect(points.length).toBeGreaterThan(4)
  for (const { state, ran } of points) {
    for (const alsoTheBegunOne of [false, true]) {
      const before = [...ran, ...(alsoTheBegunOne && state.begun ? [String(state.todo[0]?.argv[0])] : [])]
      const after: string[] = []
      const ended = await runCommands({ run: run(after), save: async () => OK }, state, signal())
      const all = [...before, ...after]
      expect(new Set(all).size).toBe(all.length)
      expect(ended.ok && ended.value.status.steps.map((step) => step.step)).toEqual(['a', 'b', 'c'])
    }
  }
})

test('an engine that goes away stops the rest, which waits for it to come back', async () => {
  const ran: string[] = []
  const run = async ({ argv }: GuestCommand) => {
    ran.push(String(argv[0]))
    return err(failure('runtime_unreachable', 'gone'))
  }
  const ended = await runCommands({ run, save: async () => OK }, todo('a', 'b'), signal())
  expect([ran, ended.ok && ended.value.todo.length, ended.ok && ended.value.status.done]).toEqual([['a'], 1, false])
})

test('what cannot be written down is not begun', async () => {
  const ran: string[] = []
  const run = async ({ argv }: GuestCommand) => {
    ran.push(String(argv[0]))
    return ok({ exitCode: 0, output: '' })
  }
  const ended = await runCommands({ run, save: async () => err(failure('disk_full', 'x')) }, todo('a'), signal())
  expect([ran, ended.ok]).toEqual([[], false])
})

test('a thousand talkative steps do not make a status of megabytes', async () => {
  const steps = Array.from({ length: 1000 }, (_, index) => `s${index}`)
  const run = async () => ok({ exitCode: 0, output: 'x'.repeat(4096) })
  const ended = await runCommands({ run, save: async () => OK }, todo(...steps), signal())
  expect(JSON.stringify(ended.ok && ended.value.status).length).toBeLessThan(400_000)
})
