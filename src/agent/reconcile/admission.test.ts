import fc from 'fast-check'
import { expect, test } from 'vitest'
import { InstanceId } from '../../contracts/ids.ts'
import { createLedger } from '../execute/ledger.ts'
import { admit, allocatable, foldPressure } from './admission.ts'

const room = { allocatableMemoryBytes: 1000, reservedMemoryBytes: 600, pressure: [] }

test('C44: the refusal names dimension, requested and available', () => {
  const refused = admit({ memoryBytes: 401 }, room)
  expect(refused).toMatchObject({
    ok: false,
    error: { code: 'node_full', fields: { dimension: 'memory', requested: 401, available: 400 } },
  })
  expect(admit({ memoryBytes: 400 }, room).ok).toBe(true)
})

test('C44: HEAL-14 pressure refuses a new instance and names the dimension', () => {
  expect(admit({ memoryBytes: 1 }, { ...room, pressure: ['disk'] })).toMatchObject({
    ok: false,
    error: { code: 'node_pressure', fields: { dimension: 'disk' } },
  })
})

test('pressure has hysteresis: entered above 80 %, left at 75 %', () => {
  const limits = { cpu: 0.8, memory: 0.8, disk: 0.9 }
  const at = (memory: number) => ({ cpu: 0, memory, disk: 0 })
  expect(foldPressure([], at(0.8), limits)).toEqual([])
  expect(foldPressure([], at(0.81), limits)).toEqual(['memory'])
  expect(foldPressure(['memory'], at(0.76), limits)).toEqual(['memory'])
  expect(foldPressure(['memory'], at(0.75), limits)).toEqual([])
})

test('the worked example: 64 GiB less 4 GiB less a buffer of 2 GiB', () => {
  expect(allocatable(64 * 2 ** 30, 4 * 2 ** 30, 2 / 64)).toBe(62277025792)
  expect(allocatable(2 ** 20, 2 ** 30, 0.05)).toBe(0)
})

test('PLACE-2 the sum of caps never passes what is allocatable, in any interleaving; a holder is never refused its own', () => {
  const op = fc.record({ id: fc.integer({ min: 0, max: 9 }), take: fc.boolean(), memoryBytes: fc.integer({ min: 1, max: 500 }) })
  fc.assert(
    fc.property(fc.array(op, { maxLength: 60 }), (ops) => {
      const ledger = createLedger((ask, reservedMemoryBytes) => admit(ask, { ...room, reservedMemoryBytes }))
      const held = new Map<number, number>()
      for (const { id, take, memoryBytes } of ops) {
        const instance = InstanceId.parse(`inst_${String(id).padStart(20, '0')}`)
        if (!take) {
          ledger.release(instance)
          held.delete(id)
          continue
        }
        const taken = ledger.take(instance, { memoryBytes, cpuMillis: 1000 })
        if (taken.ok) held.set(id, memoryBytes)
        if (memoryBytes <= (held.get(id) ?? 0)) expect(taken.ok).toBe(true)
        expect(ledger.reservedMemoryBytes).toBe([...held.values()].reduce((sum, bytes) => sum + bytes, 0))
        expect(ledger.reservedMemoryBytes).toBeLessThanOrEqual(1000)
      }
    }),
  )
})

test('C47: under pressure what holds its place is recovered all the same; only new ones are refused', () => {
  const [held, fresh] = [1, 2].map((id) => InstanceId.parse(`inst_${String(id).padStart(20, '0')}`))
  const ledger = createLedger((ask, reservedMemoryBytes) => admit(ask, { ...room, reservedMemoryBytes, pressure: ['memory'] }))
  const ask = { memoryBytes: 10, cpuMillis: 1000 }
  ledger.adopt(held!, ask)
  expect(ledger.take(held!, ask)).toMatchObject({ ok: true })
  expect(ledger.take(fresh!, ask)).toMatchObject({ ok: false, error: { code: 'node_pressure' } })
})
