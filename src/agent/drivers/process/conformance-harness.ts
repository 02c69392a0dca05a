// For the tests of the process driver: a driver on its own state directory. Whatever of it lives is found again by a mark in the
// environment (workloads) or by the working directory (keepers, the forge).
import { spawn } from 'node:child_process'
import { existsSync, readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fingerprint } from '../../../base/hash.ts'
import { silentLogger } from '../../../base/log.ts'
import { systemClock, systemRandom } from '../../../base/system.ts'
import { type Harness, shellCommand, until } from '../conformance-kit.ts'
import type { Driver } from '../driver.ts'
import { CGROUP_ROOT, openCgroups } from './cgroups.ts'
import { createProcessDriver, type ProcessDriverOptions } from './driver.ts'
import { allPids, readEnvironment, readStat, sendSignal } from './proc.ts'

export interface ProcessHarness extends Harness {
  readonly stateDir: string
  /** Living processes of this state directory: workloads and keepers, not the forge. */
  living(): readonly number[]
}

/** Without control groups unless asked for: most promises hold without root and are then tested so. The caller removes the directory. */
export function processHarness(stateDir: string, change: Partial<ProcessDriverOptions> = {}): ProcessHarness {
  const mark = systemRandom.text(16)
  const fixed = { nodeId: 'test', clock: systemClock, random: systemRandom, log: silentLogger, cgroupRoot: '/nonexistent' }
  const open = (): Driver => createProcessDriver({ stateDir, ...fixed, ...change })
  const driver = open()
  const living = () => livingOf(stateDir, mark)
  return {
    stateDir,
    driver,
    living,
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
    foreign,
    leftovers: async () => [...living().map((pid) => `process ${pid}`), ...groupsOf(stateDir)],
    dispose: () =>
      until('everything of the harness has ended', () => {
        for (const pid of living()) sendSignal(pid, 'SIGKILL')
        return living().length === 0
      }).then(() => openCgroups(stateDir).sweep()),
  }
}

async function foreign() {
  const child = spawn('/bin/sleep', ['600'], { stdio: 'ignore', detached: true })
  return {
    alive: async () => child.exitCode === null && child.signalCode === null,
    dispose: async () => {
      child.kill('SIGKILL')
    },
  }
}

/** Zombies are dead. */
function livingOf(stateDir: string, mark: string): readonly number[] {
  return allPids().filter((pid) => {
    const marked = readEnvironment(pid)?.includes(`TEST_MARK=${mark}`) ?? false
    if (!marked && !workingDirectory(pid).startsWith(`${stateDir}/`)) return false
    const state = readStat(pid)?.state
    return state !== undefined && state !== 'Z' && state !== 'X'
  })
}

function workingDirectory(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return ''
  }
}

/** Control groups of incarnations that still exist below the top-level group of this state directory. */
function groupsOf(stateDir: string): readonly string[] {
  const top = `holdfast-${fingerprint(stateDir).slice(0, 8)}`
  return ['', 'memory', 'cpu', 'cpuacct', 'freezer', 'unified'].flatMap((controller) => {
    const dir = join(CGROUP_ROOT, controller, top)
    if (!existsSync(dir)) return []
    return readdirSync(dir, { withFileTypes: true }).flatMap((entry) => (entry.isDirectory() ? [join(dir, entry.name)] : []))
  })
}
