import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import { z } from 'zod'
import { tmpDir } from '../../../../tests/support/tmp.ts'
import { cpuShares, cpuWeight, frozenState, groupPids, groupUsage, oomFile, openCgroups, removeGroups, setFrozen } from './cgroups.ts'

const Vectors = z.array(z.object({ cpu: z.number(), weight: z.number() }))
const vectors = Vectors.parse(JSON.parse(readFileSync(join(import.meta.dirname, '../../../../tests/fixtures/cpu-memory.json'), 'utf8')))

describe('control groups', () => {
  test.each(vectors)('the weight of $cpu vCPU is $weight', ({ cpu, weight }) => {
    assert.equal(cpuWeight(Math.max(1, Math.round(cpu * 1000))), weight)
  })

  test('version 1 shares: 1024 for one vCPU, never below what the kernel takes', () => {
    assert.deepEqual([1, 1000, 500, 64_000].map(cpuShares), [2, 1024, 512, 65_536])
  })

  test('a machine without writable controllers has mode none and says why', async () => {
    const dir = await tmpDir()
    const none = openCgroups('/some/state', dir)
    assert.deepEqual([none.mode, none.create('x', { memoryBytes: 1, cpuMillis: 1 })], ['none', []])
    assert.match(none.why, /no memory and cpu controllers/)
  })

  test('without groups every question has an answer', () => {
    assert.deepEqual([groupPids([]), groupUsage([]), oomFile([]), frozenState([]), setFrozen([], true)], [[], null, null, null, false])
    removeGroups(['/nonexistent/group'])
  })
})
