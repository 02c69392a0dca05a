import { expect, test } from 'vitest'
import { nearest } from './nearest.ts'

test('a slip of the fingers finds the word; a different word finds nothing', () => {
  const known = ['command', 'resources', 'scaling', 'ports', 'health', 'env']
  expect(nearest('comand', known)).toBe('command')
  expect(nearest('prots', known)).toBe('ports')
  expect(nearest('Health', known)).toBe('health')
  expect(nearest('image', known)).toBeUndefined()
  expect(nearest('xyz', known)).toBeUndefined()
})
