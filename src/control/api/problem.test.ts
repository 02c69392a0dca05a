import { expect, test } from 'vitest'
import { failure, HoldfastError } from '../../contracts/errors.ts'
import { WORDS } from '../../contracts/parse-words.ts'
import { InstanceInput } from '../../contracts/spec.ts'
import { Problem } from '../../contracts/views.ts'
import { failureOf, invalidInput, problemOf } from './problem.ts'

function complaint(input: unknown): string {
  const parsed = InstanceInput.safeParse(input, WORDS)
  if (parsed.success) throw new Error('accepted')
  return invalidInput('body', parsed.error.issues).detail
}

test.each([
  ['an unknown field', { nmae: 'web' }, 'nmae: unknown field'],
  ['an unknown field deep down', { ports: [{ internal: 80, hostt: 1 }] }, 'ports.0.hostt: unknown field'],
  ['a name', { name: 'Web_1' }, 'name: must be 1 to 63 of a-z 0-9 - and begin and end with a letter or digit'],
  ['a missing field', { ports: [{}] }, 'ports.0.internal: is required'],
  ['a host port', { ports: [{ internal: 80, host: 65_536 }] }, 'ports.0.host: Too big: expected number to be <=65535'],
  ['memory text', { memory: '512MB' }, 'memory: must be a whole number with Mi or Gi, such as 512Mi or 2Gi'],
  ['negative memory', { memory: '-1Gi' }, 'memory: must be a whole number with Mi or Gi, such as 512Mi or 2Gi'],
  ['scientific memory', { memory: '1e9' }, 'memory: must be a whole number with Mi or Gi, such as 512Mi or 2Gi'],
  ['cpu 0', { cpu: 0 }, 'cpu: must be from 0.001 to 64'],
  [
    'a label key',
    { labels: { Bad: 'x' } },
    'labels.Bad: a label key is 1 to 63 of a-z 0-9 . _ / - and begins and ends with a letter or digit',
  ],
  ['a label value', { labels: { a: 'x y' } }, 'labels.a: a label value is at most 63 of A-Z a-z 0-9 . _ -'],
  ['a reserved label', { labels: { 'holdfast.io/x': 'y' } }, 'labels.holdfast.io/x: keys under holdfast.io/ belong to the platform'],
  ['a check of an unknown kind', { health: [{ type: 'udp', port: 1 }] }, 'health.0.type: is not one of the known kinds'],
  ['a check port that is neither', { health: [{ type: 'tcp', port: 70_000 }] }, 'health.0.port: Too big: expected number to be <=65535'],
  ['a NUL byte', { command: ['a\0'] }, 'command.0: must not contain a NUL byte'],
  ['no object', [], 'body: Invalid input: expected object, received array'],
])('%s is named by its place', (_name, input, detail) => {
  expect(complaint(input)).toBe(detail)
})

test('a lost database promises nothing about the change that was asked for: its commit may have been made', () => {
  expect(problemOf(failure('store_unavailable', 'x'), 'r').hint).not.toMatch(/nothing was changed/i)
})

test('all wrong fields are listed, the first is the detail', () => {
  const parsed = InstanceInput.safeParse({ cpu: 0, memory: 'x' }, WORDS)
  const given = invalidInput('body', parsed.error?.issues ?? [])
  expect(given.fields).toMatchObject({
    field: 'cpu',
    errors: ['cpu: must be from 0.001 to 64', 'memory: must be a whole number with Mi or Gi, such as 512Mi or 2Gi'],
  })
})

test('a problem document has all its members and named fields, and no field can replace a member', () => {
  const document = problemOf(failure('quota_exceeded', 'Too much.', { dimension: 'memory', status: 7, code: 'x' }), 'req_1')
  expect(Problem.parse(document)).toEqual(document)
  expect(document).toMatchObject({
    type: 'docs/errors.md#quota_exceeded',
    status: 409,
    code: 'quota_exceeded',
    retryable: true,
    request_id: 'req_1',
    dimension: 'memory',
  })
})

test('a bug is internal and its text stays inside', () => {
  expect(problemOf(failureOf(new Error('secret in a message')), 'r')).toMatchObject({
    code: 'internal',
    status: 500,
    detail: expect.not.stringContaining('secret'),
  })
  expect(failureOf(new HoldfastError(failure('not_found', 'x')))).toMatchObject({ code: 'not_found' })
})

test('the next commands of a problem name the instance that was asked for', () => {
  const given = failure('wrong_state', 'It is stopped.')
  expect(problemOf(given, 'req_1', 'web').hint).toBe('Run holdfast show web to see its state, and holdfast why web for the reason.')
  expect(problemOf(given, 'req_1').hint).toBe('Run holdfast show to see its state, and holdfast why for the reason.')
})
