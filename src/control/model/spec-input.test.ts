import fc from 'fast-check'
import { expect, test } from 'vitest'
import { InstanceInput, type InstanceSpec } from '../../contracts/spec.ts'
import { compileSpec } from '../../contracts/spec-compile.ts'
import { formatDuration, specInput } from './spec-input.ts'

function compile(input: unknown): InstanceSpec {
  const compiled = compileSpec(InstanceInput.parse(input))
  if (!compiled.ok) throw new Error(compiled.error.detail)
  return compiled.value
}

const duration = fc.integer({ min: 1, max: 7_200_000 }).map((ms) => `${ms}ms`)
const text = fc.stringMatching(/^[a-z]{1,8}$/)
const check = fc
  .record({
    type: fc.constantFrom('tcp', 'http', 'exec'),
    kind: fc.constantFrom('start', 'ready', 'live'),
    port: fc.constantFrom(8080, 'web'),
    intervalMs: fc.integer({ min: 1000, max: 100_000 }),
    grace: fc.option(duration, { nil: undefined }),
  })
  .map(({ type, port, intervalMs, grace, kind }) => ({
    type,
    kind,
    interval: `${intervalMs}ms`,
    timeout: '1s',
    ...(grace && { grace }),
    ...(type === 'exec' ? { command: ['true'] } : { port }),
    ...(type === 'http' && { path: '/x', headers: { a: 'b' }, status: 204 }),
  }))
const inputArb = fc.record({
  runtime: fc.constant('docker'),
  image: fc.constant('nginx:1.27'),
  command: fc.array(text),
  cpu: fc.integer({ min: 1, max: 64_000 }).map((millis) => millis / 1000),
  memory: fc.integer({ min: 4, max: 4096 }).map((mib) => `${mib}Mi`),
  env: fc.dictionary(fc.stringMatching(/^[A-Z]{1,5}$/), text),
  ports: fc.constant([{ name: 'web', internal: 8080, host: 0 }]),
  mounts: fc.array(fc.record({ source: fc.constant('/a'), target: fc.constant('/b'), read_only: fc.boolean() }), { maxLength: 2 }),
  health: fc.array(check, { maxLength: 3 }),
  restart: fc.record({ policy: fc.constantFrom('always', 'on-failure', 'never') }),
  stop: fc.record({ signal: fc.constantFrom('SIGTERM', 'SIGINT'), grace: duration }),
  security: fc.record({ privileged: fc.boolean(), capabilities_add: fc.constantFrom([], ['NET_ADMIN']), read_only_root: fc.boolean() }),
  networks: fc.constantFrom([], ['front']),
  allow_data_loss: fc.boolean(),
  recovery: fc.record({ mode: fc.constantFrom('off', 'observe', 'on') }),
  user_data: fc.constantFrom(undefined, '#cloud-config\n{}\n'),
  node_selector: fc.dictionary(text, text),
})

test('what is shown can be sent again and compiles to the same spec', () => {
  fc.assert(
    fc.property(inputArb, (input) => {
      const spec = compile(input)
      const shown = specInput(spec)
      expect(compile(JSON.parse(JSON.stringify(shown)))).toEqual(spec)
    }),
  )
})

test('a process with a chosen port shows a check that names it, because 0 is no port a check may have', () => {
  const spec = compile({
    runtime: 'process',
    command: ['x'],
    ports: [{ name: 'http', internal: 0 }],
    health: [{ type: 'http', port: 'http' }],
  })
  const shown = specInput(spec)
  expect(shown).toMatchObject({ health: [{ type: 'http', port: 'http' }], ports: [{ name: 'http', internal: 0, host: 0 }] })
  expect(compile(shown)).toEqual(spec)
})

test('durations are shown in the largest unit that is exact', () => {
  expect([1, 1500, 60_000, 90_000, 3_600_000, 5_400_000].map(formatDuration)).toEqual(['1ms', '1500ms', '1m', '90s', '1h', '90m'])
})
