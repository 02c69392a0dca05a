// For the tests of the process driver: a driver on its own state directory, every process of which carries a mark by which whatever
// is left can be found.

import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fingerprint } from '../../../base/hash.ts'
import { silentLogger } from '../../../base/log.ts'
import { systemClock, systemRandom } from '../../../base/system.ts'
import { type Harness, shellCommand, until } from '../conformance-kit.ts'
import type { Driver } from '../driver.ts'
import { CGROUP_ROOT } from './cgroups.ts'
import { createProcessDriver, type ProcessDriverOptions } from './driver.ts'
import { allPids, readEnvironment, readStat, sendSignal } from './proc.ts'

export interface ProcessHarness extends Harness {
  readonly stateDir: string
  readonly mark: string
}

/** Without control groups unless asked for: most promises hold without root and are then tested so. */
export function processHarness(change: Partial<ProcessDriverOptions> = {}): ProcessHarness {
  const stateDir = mkdtempSync(join(tmpdir(), 'holdfast-process-'))
  const mark = systemRandom.text(16)
  const open = (): Driver =>
    createProcessDriver({
      stateDir,
      nodeId: 'test',
      clock: systemClock,
      random: systemRandom,
      log: silentLogger,
      cgroupRoot: '/nonexistent',
      ...change,
    })
  const driver = open()
  const marked = () => livingWith(mark)
  return {
    stateDir,
    mark,
    driver,
    runtime: 'process',
    command: shellCommand,
    spec: (spec) => ({ ...spec, env: { ...spec.env, TEST_MARK: mark } }),
    reopen: async () => {
      await driver[Symbol.asyncDispose]()
      return open()
    },
    kill: async (seen) => {
      sendSignal(seen.pid ?? 0, 'SIGKILL')
    },
    foreign: async () => {
      const child = spawn('/bin/sleep', ['600'], { stdio: 'ignore', detached: true })
      return {
        alive: async () => child.exitCode === null && child.signalCode === null,
        dispose: async () => {
          child.kill('SIGKILL')
        },
      }
    },
    leftovers: async () => [...marked().map((pid) => `pid ${pid}`), ...groupsOf(stateDir)],
    dispose: async () => {
      await until('everything marked has been ended', () => {
        for (const pid of marked()) sendSignal(pid, 'SIGKILL')
        return marked().length === 0
      })
      rmSync(stateDir, { recursive: true, force: true })
    },
  }
}

/** Processes with the mark in their environment, keepers among them; zombies are dead. */
export const livingWith = (mark: string): readonly number[] =>
  allPids().filter((pid) => {
    const entries = readEnvironment(pid)
    if (!entries?.some((entry) => entry === `TEST_MARK=${mark}` || entry === `+TEST_MARK=${mark}`)) return false
    const state = readStat(pid)?.state
    return state !== undefined && state !== 'Z' && state !== 'X'
  })

/** Control groups of incarnations that still exist below the top-level group of this state directory. */
function groupsOf(stateDir: string): readonly string[] {
  const top = `holdfast-${fingerprint(stateDir).slice(0, 8)}`
  return ['', 'memory', 'cpu', 'cpuacct', 'freezer', 'unified'].flatMap((controller) => {
    const dir = join(CGROUP_ROOT, controller, top)
    return existsSync(dir)
      ? readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [join(dir, entry.name)] : []))
      : []
  })
}
