import { expect, test } from 'vitest'
import { InstanceInput } from './spec.ts'
import { compileSpec } from './spec-compile.ts'

const process = (more: object) => compileSpec(InstanceInput.parse({ runtime: 'process', command: ['x'], ...more }))

test.each([
  ['privileged', { security: { privileged: true } }, 'security.privileged'],
  ['added capabilities', { security: { capabilities_add: ['NET_ADMIN'] } }, 'security.capabilities_add'],
  ['dropped capabilities', { security: { capabilities_drop: ['ALL'] } }, 'security.capabilities_drop'],
  ['a read-only root', { security: { read_only_root: true } }, 'security.read_only_root'],
  ['networks', { networks: ['inside'] }, 'networks'],
])('a process that asks for %s is refused while the user is there to hear it, and never runs without', (_name, more, field) => {
  expect(process(more)).toMatchObject({ ok: false, error: { code: 'invalid_input', fields: { field } } })
})

test('a process may be given another user, and the defaults of the rest may be spelled out', () => {
  expect(process({ security: { user: 'nobody', privileged: false, capabilities_add: [] }, networks: [] }).ok).toBe(true)
})

test.each([
  ['C4: a mount below no root', { mounts: [{ source: '/srv', target: 'mnt/x' }] }, ['mounts', 0, 'target']],
  ['C4: a mount of a relative source', { mounts: [{ source: 'srv', target: '/mnt' }] }, ['mounts', 0, 'source']],
  ['C5: one port more than there may be', { ports: Array.from({ length: 33 }, (_, index) => ({ internal: 1000 + index })) }, ['ports']],
])('%s is refused at its key', (_name, more, path) => {
  const parsed = InstanceInput.safeParse({ command: ['x'], memory: '64Mi', ...more })
  expect(parsed.error?.issues).toMatchObject([{ path }])
})
