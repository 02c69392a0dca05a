#!/usr/bin/env node
// Starts Holdfast under Node 24 or newer, whatever `node` the shell found. npm scripts and `npx` already run under the pinned
// `node-linux-<arch>`; a plain `./bin/holdfast.js` on a machine with an older Node comes here and changes over to it.
// This file must therefore parse on old Nodes: no TypeScript, no recent syntax, nothing imported before the version is known.
import { spawn } from 'node:child_process'
import { closeSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { constants } from 'node:os'
import { fileURLToPath } from 'node:url'

const NODE_MAJOR_MIN = 24
const major = Number(process.versions.node.split('.')[0])
/**
 * For what stays running. By default V8 lets young objects fill more than 100 MiB and, under a steady trickle of checks, never gives
 * that back; with 8 MiB a semi-space it collects more often and takes no more processor time (bench/fleet.ts).
 */
const SMALL_HEAP = '--max-semi-space-size=8'
const STAYING = ['up', 'server', 'agent']

if (major < NODE_MAJOR_MIN) changeOver()
else if (wantsSmallHeap()) process.execve(process.execPath, [process.execPath, SMALL_HEAP, ...ownArguments()], process.env)
else await start()

/** V8 takes the size only from its command line. Somebody else's choice stands. */
function wantsSmallHeap() {
  const verb = process.argv.slice(2).find((word) => !word.startsWith('-'))
  const given = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].join(' ')
  return STAYING.includes(verb) && !/semi[-_]space[-_]size/.test(given) && typeof process.execve === 'function'
}

function ownArguments() {
  return [...process.execArgv, fileURLToPath(import.meta.url), ...process.argv.slice(2)]
}

async function start() {
  const { enableCompileCache } = await import('node:module')
  // Not the default below /tmp: bytecode that root will run must not come from a directory that everybody may create.
  enableCompileCache(fileURLToPath(new URL('../node_modules/.cache/holdfast-compile', import.meta.url)))
  const { main } = await import('../src/cli/main.ts')
  process.exitCode = await main(process.argv.slice(2))
}

function changeOver() {
  const node = pinnedNode()
  if (node === undefined) {
    const wanted = `node-linux-${process.arch}`
    process.stderr.write(
      `holdfast: needs Node ${NODE_MAJOR_MIN} or newer, this is ${process.version} and ${wanted} is not installed; ` +
        `run "npm ci" in ${fileURLToPath(new URL('..', import.meta.url))} or install Node ${NODE_MAJOR_MIN}\n`,
    )
    process.exitCode = 1
    return
  }
  const args = ownArguments()
  // With execve (Node ≥ 23.11) nothing stays in between; before that a parent has to carry signals and the exit code.
  if (typeof process.execve === 'function') process.execve(node, [node, ...args], process.env)
  else runBelow(node, args)
}

function pinnedNode() {
  try {
    return createRequire(import.meta.url).resolve(`node-linux-${process.arch}/bin/node`)
  } catch {
    return undefined
  }
}

function runBelow(node, args) {
  const child = spawn(node, args, { stdio: 'inherit' })
  // A terminal sends Ctrl-C and its own hang-up to the child as well; passing those on would deliver them twice, and a second
  // Ctrl-C means "at once" to `holdfast up`.
  const forwarded = hasTerminal() ? ['SIGTERM'] : ['SIGTERM', 'SIGINT', 'SIGHUP']
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) {
    process.on(signal, () => {
      if (forwarded.includes(signal)) child.kill(signal)
    })
  }
  child.on('error', (error) => {
    process.stderr.write(`holdfast: cannot run ${node}: ${error.message}; run "npm ci" again or install Node ${NODE_MAJOR_MIN}\n`)
    process.exitCode = 1
  })
  child.on('exit', (code, signal) => {
    if (signal === null) {
      process.exitCode = code === null ? 1 : code
      return
    }
    // End the same way, so that the caller sees the signal; the number is for those signals that do not end a process.
    process.removeAllListeners(signal)
    process.exitCode = 128 + constants.signals[signal]
    process.kill(process.pid, signal)
  })
}

function hasTerminal() {
  try {
    closeSync(openSync('/dev/tty', 'r'))
    return true
  } catch {
    return false
  }
}
