import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { expect, onTestFinished, test } from 'vitest'
import { waitFor } from '../../../../tests/support/wait.ts'
import { killTree, processOf } from './proc.ts'

/** The part of our own cgroup's name stands for a container id here: children are in the same cgroup. */
const ID = readFileSync('/proc/self/cgroup', 'latin1').split('\n')[0]?.split(':')[2] ?? '/'

function run(...argv: [string, ...string[]]): ChildProcess {
  const child = spawn(argv[0], argv.slice(1), { stdio: ['ignore', 'pipe', 'ignore'], detached: true })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

test('fact: pid 0 and pid 1 are never looked up and never signalled', () => {
  const calls: unknown[] = []
  const real = process.kill
  process.kill = (...given) => {
    calls.push(given)
    return true
  }
  try {
    for (const pid of [0, 1, -1, Number.NaN]) {
      expect(processOf(pid, '')).toBe(undefined)
      expect(killTree(pid, '')).toBe(0)
    }
  } finally {
    process.kill = real
  }
  expect(calls).toEqual([])
})

test('T08: fact: a zombie is dead although its pid exists', async () => {
  // The shell's child ends; what the shell has become never waits for it.
  const parent = run('/bin/sh', '-c', 'sleep 0 & echo $!; exec sleep 60')
  const pid = await waitFor(() => new Promise<number>((resolve) => parent.stdout?.once('data', (data) => resolve(Number(String(data))))), {
    what: 'the pid of the child',
    deadlineMs: 5000,
  })
  const facts = await waitFor(() => processOf(pid, ID)?.zombie && processOf(pid, ID), { what: 'the child is a zombie', deadlineMs: 5000 })
  expect(facts.zombie).toBe(true)
  expect(process.kill(pid, 0)).toBe(true)
})

test('T08: a pid counts only while its cgroup names the container; another process of that number is left alone', async () => {
  const child = run('/bin/sleep', '60')
  const pid = child.pid ?? 0
  expect(processOf(pid, ID)).toMatchObject({ zombie: false })
  expect(processOf(pid, 'f'.repeat(64))).toBe(undefined)
  expect(killTree(pid, 'f'.repeat(64))).toBe(0)
  expect(child.exitCode).toBe(null)
})

test('the whole family of a command is killed', async () => {
  const parent = run('/bin/sh', '-c', 'sleep 60 & sleep 60 & echo ready; wait')
  await waitFor(() => new Promise((resolve) => parent.stdout?.once('data', () => resolve(true))), { what: 'ready', deadlineMs: 5000 })
  expect(killTree(parent.pid ?? 0, ID)).toBe(3)
  await waitFor(() => parent.signalCode === 'SIGKILL', { what: 'the parent is gone', deadlineMs: 5000 })
})
