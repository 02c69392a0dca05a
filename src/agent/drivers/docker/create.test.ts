import { expect, test } from 'vitest'
import { InstanceId } from '../../../contracts/ids.ts'
import type { InstanceSpec } from '../../../contracts/spec.ts'
import { plainSpec } from '../conformance-kit.ts'
import type { Wanted } from '../driver.ts'
import { containerConfig } from './create.ts'
import { readMark } from './marks.ts'

const want = (change: Partial<InstanceSpec> = {}, more: Partial<Wanted> = {}): Wanted => ({
  id: InstanceId.parse('inst_00000000000000000000'),
  incarnation: 7,
  nonce: 'secret-nonce',
  name: 'web-1',
  spec: { ...plainSpec('docker', []), image: 'nginx:1', ...change },
  labels: { app: 'web', 'team/x': 'Y' },
  hostPorts: [],
  platformEnv: { HOLDFAST_INSTANCE_ID: 'i' },
  ...more,
})
const config = (given: Wanted): Record<string, unknown> & { HostConfig: Record<string, unknown>; Labels: Record<string, string> } => {
  const result = containerConfig(given, { nodeId: 'node-1', stateId: 'state-1' }, { 'holdfast.test/run': 'r' })
  if (!result.ok) throw new Error(result.error.detail)
  return JSON.parse(JSON.stringify(result.value))
}

test('the memory cap is the cap: no swap beside it; the share of cpu follows the request and never falls below the kernel`s floor', () => {
  expect(config(want({ memoryBytes: 64 * 2 ** 20, cpuMillis: 1500 })).HostConfig).toMatchObject({
    Memory: 67_108_864,
    MemorySwap: 67_108_864,
    CpuShares: 1536,
  })
  expect(config(want({ cpuMillis: 1 })).HostConfig.CpuShares).toBe(2)
})

test('a cap that the engine cannot enforce is refused by us, with its floor', () => {
  const result = containerConfig(want({ memoryBytes: 4 * 2 ** 20 }), { nodeId: 'n', stateId: 's' }, {})
  expect(!result.ok && [result.error.code, result.error.fields]).toEqual([
    'limits_unsupported',
    { dimension: 'memory', minimum: 6 * 2 ** 20 },
  ])
})

test('the engine never restarts by itself: there is one healer', () => {
  expect(config(want()).HostConfig.RestartPolicy).toEqual({ Name: 'no' })
})

test('labels say whose it is, and readMark reads them back; user labels cannot pose as ours', () => {
  const labels = config(want({}, { labels: { app: 'web', instance: 'inst_11111111111111111111' } })).Labels
  expect(labels).toMatchObject({
    'holdfast.io/node': 'node-1',
    'holdfast.io/state': 'state-1',
    'holdfast.io/label/app': 'web',
    'holdfast.test/run': 'r',
  })
  expect(readMark(labels)).toMatchObject({ id: 'inst_00000000000000000000', incarnation: 7, nonce: 'secret-nonce', cloudInit: false })
})

test('a fixed host port is open to others, a chosen one only to this node; both survive in the labels', () => {
  const ports = [
    { name: 'web', internal: 80, host: 8080, protocol: 'tcp' as const },
    { name: 'adm', internal: 81, host: 0, protocol: 'udp' as const },
  ]
  const made = config(want({ ports }, { hostPorts: [8080, 0] }))
  expect(made.HostConfig.PortBindings).toEqual({
    '80/tcp': [{ HostIp: '0.0.0.0', HostPort: '8080' }],
    '81/udp': [{ HostIp: '127.0.0.1', HostPort: '0' }],
  })
  expect(readMark(made.Labels)?.ports).toEqual([
    { name: 'web', protocol: 'tcp', internal: 80, host: 8080 },
    { name: 'adm', protocol: 'udp', internal: 81, host: 0 },
  ])
})

test('security, mounts, networks and stop go over as asked', () => {
  const security = { privileged: true, capabilitiesAdd: ['NET_ADMIN'], capabilitiesDrop: ['ALL'], readOnlyRoot: true, user: 'app:app' }
  const made = config(
    want({
      security,
      mounts: [{ source: '/a', target: '/b', readOnly: true }],
      networks: ['n1', 'n2'],
      stop: { signal: 'SIGINT', graceMs: 1500 },
    }),
  )
  expect(made).toMatchObject({ User: 'app:app', StopSignal: 'SIGINT', StopTimeout: 2, NetworkingConfig: { EndpointsConfig: { n1: {} } } })
  expect(made.HostConfig).toMatchObject({
    Privileged: true,
    CapAdd: ['NET_ADMIN'],
    CapDrop: ['ALL'],
    ReadonlyRootfs: true,
    NetworkMode: 'n1',
    Mounts: [{ Type: 'bind', Source: '/a', Target: '/b', ReadOnly: true }],
  })
})

test('an empty command leaves the image`s own; nothing unasked is set', () => {
  const made = config(want())
  expect(['Cmd', 'User', 'WorkingDir', 'NetworkingConfig'].filter((key) => key in made)).toEqual([])
})
