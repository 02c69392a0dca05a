import fc from 'fast-check'
import { parse } from 'smol-toml'
import { assert, describe, expect, test } from 'vitest'
import { CHECK_TIMEOUT_MS, compileManifest, readManifest } from './manifest-compile.ts'

const HELLO = `
schema_version = "v1"
[app]
name = "hello"
[env.vars]
GREETING = "hello"
[processes.web]
command = ["node", "server.js"]
resources = { cpu = 0.5, memory = "64Mi" }
scaling = { min = 2 }
ports = [{ name = "http", internal = 0 }]
health = { type = "http", port = "http", path = "/healthz", interval = "1s" }
labels = { tier = "front" }
`

const base = () => ({
  schema_version: 'v1',
  app: { name: 'shop' },
  processes: { web: { command: ['./web'], resources: { memory: '64Mi' } } } as Record<string, Record<string, unknown>>,
})
const withWeb = (extra: Record<string, unknown>) => ({ ...base(), processes: { web: { ...base().processes.web, ...extra } } })

function issuesOf(raw: unknown, env = 'prod'): readonly string[] {
  const read = readManifest(raw, env)
  return read.ok ? [] : read.error.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
}
function webOf(raw: unknown) {
  const read = compileManifest(raw, 'prod')
  assert(read.ok, JSON.stringify(read))
  return read.value.processes[0]!
}

describe('a manifest compiles to what each replica is made from', () => {
  test('the hello manifest: replicas, merged variables, port chosen per replica, check on the named port', () => {
    const read = compileManifest(parse(HELLO), 'prod')
    assert(read.ok, JSON.stringify(read))
    expect(read.value).toMatchObject({ app: 'hello', env: 'prod', processes: [{ name: 'web', replicas: 2 }] })
    const web = read.value.processes[0]!
    expect(web.spec).toMatchObject({
      runtime: 'process',
      cpuMillis: 500,
      memoryBytes: 64 * 2 ** 20,
      env: { GREETING: 'hello' },
      ports: [{ name: 'http', internal: 0, host: 0, protocol: 'tcp' }],
    })
    expect(web.spec.health).toMatchObject([{ type: 'http', port: 0, path: '/healthz', intervalMs: 1000, timeoutMs: 1000 }])
    expect(web.input.labels).toEqual({ tier: 'front' })
  })

  test('variables, user and workdir of a process win over those of the env', () => {
    const raw = {
      ...withWeb({ vars: { A: 'process' }, user: 'web', stop: { grace: '3s' }, restart: { policy: 'never' } }),
      env: { vars: { A: 'env', B: 'env' }, user: 'root', workdir: '/srv' },
    }
    const { spec } = webOf(raw)
    expect(spec).toMatchObject({ env: { A: 'process', B: 'env' }, workingDir: '/srv', restart: 'never', stop: { graceMs: 3000 } })
    expect(spec.security.user).toBe('web')
  })

  test('the image goes to those processes that run one', () => {
    const raw = {
      ...base(),
      image: { ref: 'nginx:1' },
      processes: { ...base().processes, db: { runtime: 'docker', resources: { memory: '1Gi' } } },
    }
    const read = compileManifest(raw, 'prod')
    assert(read.ok, JSON.stringify(read))
    expect(read.value.processes.map((process) => process.spec.image)).toEqual([null, 'nginx:1'])
  })

  test('durations as text and as the seconds of the reference mean the same', () => {
    const text = webOf(withWeb({ health: { type: 'tcp', port: 80, interval: '5s', timeout: '1500ms', grace: '20s' } }))
    const seconds = webOf(withWeb({ health: { port: 80, interval_seconds: 5, timeout_seconds: 1.5, grace_period_seconds: 20 } }))
    expect(seconds.spec.health).toEqual(text.spec.health)
    expect(text.spec.health).toMatchObject([{ type: 'tcp', intervalMs: 5000, timeoutMs: 1500, graceMs: 20_000, failureThreshold: 3 }])
  })

  test('the default timeout assumed here is that of an instance', () => {
    expect(webOf(withWeb({ health: { port: 80 } })).spec.health[0]?.timeoutMs).toBe(CHECK_TIMEOUT_MS)
  })

  test('health may be one table or a list', () => {
    const check = { type: 'tcp', port: 80 }
    expect(webOf(withWeb({ health: [check] })).spec).toEqual(webOf(withWeb({ health: check })).spec)
  })
})

describe('each mistake is refused at the path of its key', () => {
  test.each<[string, unknown, string]>([
    ['no version', { ...base(), schema_version: undefined }, 'schema_version: must be "v1"'],
    ['a later version', { ...base(), schema_version: 'v2' }, 'schema_version: must be "v1"'],
    ['unknown top-level key', { ...base(), bogus: 1 }, 'bogus: unknown key'],
    ['unknown key in a process', withWeb({ memory: '1Gi' }), 'processes.web.memory: unknown key'],
    ['unknown key in a check', withWeb({ health: { port: 80, retries: 1 } }), 'processes.web.health.retries: unknown key'],
    ['unknown key in a listed check', withWeb({ health: [{ port: 80, retries: 1 }] }), 'processes.web.health.0.retries: unknown key'],
    ['no process', { ...base(), processes: {} }, 'processes: give at least one process, such as [processes.web]'],
    ['no processes at all', { ...base(), processes: undefined }, 'processes: is required'],
    ['no memory', withWeb({ resources: {} }), 'processes.web.resources.memory: memory is required: a cap such as "512Mi" or "2Gi"'],
    ['no resources', withWeb({ resources: undefined }), 'processes.web.resources: is required'],
    [
      'memory in MB',
      withWeb({ resources: { memory: '512MB' } }),
      'processes.web.resources.memory: must be a whole number with Mi or Gi, such as 512Mi or 2Gi',
    ],
    [
      'autoscale',
      withWeb({ scaling: { autoscale: true } }),
      'processes.web.scaling.autoscale: autoscaling is not offered; set min to the number of replicas',
    ],
    ['max below min', withWeb({ scaling: { min: 3, max: 2 } }), 'processes.web.scaling.max: must not be less than min'],
    ['volumes', { ...base(), volumes: [] }, 'volumes: not supported yet: volumes'],
    ['backup', { ...base(), backup: {} }, 'backup: not supported yet: backups'],
    ['mounts', withWeb({ mounts: [] }), 'processes.web.mounts: not supported yet: volumes and mounts'],
    ['secrets', withWeb({ secrets: { required: true } }), 'processes.web.secrets: not supported yet: secrets'],
    [
      'retries',
      withWeb({ restart: { policy: 'on-failure', max_retries: 3 } }),
      'processes.web.restart.max_retries: not supported yet: restart.max_retries; the node decides how often',
    ],
    ['udp', withWeb({ ports: [{ internal: 53, protocol: 'udp' }] }), 'processes.web.ports.0.protocol: only tcp ports are supported'],
    ['http without path', withWeb({ health: { type: 'http', port: 80 } }), 'processes.web.health.path: is required'],
    [
      'both interval forms',
      withWeb({ health: { port: 80, interval: '5s', interval_seconds: 5 } }),
      'processes.web.health.interval_seconds: give interval or interval_seconds, not both',
    ],
    [
      'timeout above interval',
      withWeb({ health: { port: 80, interval: '1s', timeout: '2s' } }),
      'processes.web.health.timeout: must not be longer than the interval',
    ],
    [
      'check on a port that is not there',
      withWeb({ health: [{ port: 'http' }] }),
      'processes.web.health.0.port: no port "http" among the ports of the instance; add it to ports',
    ],
    ['a number for a variable', { ...base(), env: { vars: { A: 1 } } }, 'env.vars.A: must be a string; put the value in quotes'],
    [
      'a lower-case variable',
      withWeb({ vars: { a: '1' } }),
      'processes.web.vars.a: a variable name is A-Z 0-9 _ and does not begin with a digit',
    ],
    [
      'PORT beside a chosen port',
      withWeb({ ports: [{ internal: 0 }], vars: { PORT: '80' } }),
      'processes.web.vars.PORT: PORT is set by the platform for a port with internal = 0',
    ],
    [
      'a bad process name',
      { ...base(), processes: { Web: base().processes.web } },
      'processes.Web: a process name begins with a-z and has at most 32 of a-z 0-9 -',
    ],
    ['no command for a process', withWeb({ command: undefined }), 'processes.web.command: the process runtime needs a command'],
    [
      'an image nobody runs',
      { ...base(), image: { ref: 'nginx' } },
      'image.ref: no process runs an image; set runtime = "docker" on the one that does',
    ],
    ['docker without an image', withWeb({ runtime: 'docker' }), 'image.ref: the docker runtime needs an image'],
    [
      'a platform label',
      withWeb({ labels: { 'holdfast.io/x': '1' } }),
      'processes.web.labels.holdfast.io/x: keys under holdfast.io/ belong to the platform',
    ],
    ['zero cpu', withWeb({ resources: { memory: '64Mi', cpu: 0 } }), 'processes.web.resources.cpu: must be from 0.001 to 64'],
  ])('%s', (_name, raw, issue) => {
    expect(issuesOf(raw)).toContain(issue)
  })

  test('all mistakes of one manifest are told at once', () => {
    expect(issuesOf({ ...withWeb({ bogus: 1, scaling: { autoscale: 1 } }), app: {} })).toHaveLength(3)
  })

  test('a replica name that would be too long names the process', () => {
    const raw = { ...base(), app: { name: 'a'.repeat(60) } }
    expect(issuesOf(raw)[0]).toMatch(/^processes\.web: the replica name a+-prod-web-0 is longer than 63/)
  })

  test('the failure of the API names the first field and lists the issues', () => {
    const read = compileManifest({ ...base(), bogus: 1, more: 2 }, 'prod')
    assert(!read.ok)
    expect(read.error).toMatchObject({ code: 'invalid_manifest', detail: 'bogus: unknown key (and 1 more)', fields: { field: 'bogus' } })
  })

  test('nothing that is no table is accepted, and nothing throws', () => {
    fc.assert(
      fc.property(fc.anything(), (raw) => {
        assert(!compileManifest(raw, 'prod').ok)
      }),
    )
  })
})

describe('hashes tell a change and nothing else', () => {
  test('key order and comments do not count', () => {
    const other = `# a comment\n${HELLO.replace('[app]\nname = "hello"\n', '')}[app]\nname = "hello"\n`
    const [left, right] = [compileManifest(parse(HELLO), 'prod'), compileManifest(parse(other), 'prod')]
    assert(left.ok && right.ok)
    expect(right.value).toEqual(left.value)
    expect(left.value.hash).toMatch(/^sha256:[0-9a-f]{64}$/)
  })

  test('scaling and description change the manifest, not the replica; a variable changes the replica', () => {
    const hash = webOf(base()).hash
    expect(webOf({ ...withWeb({ scaling: { min: 3 } }), app: { name: 'shop', description: 'x' } }).hash).toBe(hash)
    expect(webOf(withWeb({ vars: { A: '1' } })).hash).not.toBe(hash)
  })

  test('the hash of a given replica never changes: it is in databases', () => {
    expect(webOf(base()).hash).toBe('sha256:b2f6c955ecfc20f4c4fc8725b834531159a0599d6271962d528faa480043a927')
  })
})
