import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import type { InstanceInput } from '../../contracts/spec.ts'
import { errnoOf } from '../errno.ts'
import { finish } from '../finish.ts'
import { decimal, duration, type FlagValues, many, oneOf, oneOfOr, text } from '../flags.ts'
import { connect } from '../session.ts'
import { usage, verb } from '../verb.ts'
import { readHealth, readPort } from './launch-words.ts'
import { readPairs } from './pairs.ts'

const flags = {
  name: text('--name <name>', 'its name (default: made up)'),
  runtime: oneOf('--runtime <runtime>', 'what runs it (default: process, or docker when --image is given)', [
    'process',
    'docker',
    'qemu',
    'firecracker',
  ]),
  image: text('--image <image>', 'the image to run'),
  cpu: decimal('--cpu <n>', 'share in vCPU, such as 0.5 (default 1)'),
  memory: text('--memory <size>', 'memory cap, such as 512Mi or 2Gi (default 256Mi)'),
  env: many('--env <key=value>', 'environment variable; may be repeated'),
  port: many('--port <[host:]internal>', 'port; host 0 or absent is chosen; may be repeated'),
  label: many('--label <key=value>', 'label; may be repeated'),
  metadata: many('--metadata <key=value>', 'metadata; may be repeated'),
  userData: text('--user-data <file>', 'cloud-init user data'),
  sshKey: many('--ssh-key <file>', 'SSH public keys, one per line; may be repeated'),
  health: many('--health <check>', 'tcp:PORT, http:PORT/PATH or exec:CMD; may be repeated'),
  restart: oneOf('--restart <policy>', 'when to start it again (default always)', ['always', 'on-failure', 'never']),
  workdir: text('--workdir <dir>', 'working directory (process: default the current one)'),
  wait: oneOfOr('--wait [state]', 'wait until it is running, healthy or stopped', ['running', 'healthy', 'stopped'], 'running'),
  waitTimeout: duration('--wait-timeout <time>', 'give up waiting after this long (default 60s)'),
} as const

export const launch = verb({
  name: 'launch',
  args: '[command...]',
  group: 'Deploy and launch',
  summary: 'Launch one instance by itself',
  more: [
    'Examples:',
    '  holdfast launch --name ticker --memory 64Mi -- sh -c "while :; do date; sleep 1; done"',
    '  holdfast launch --name web --runtime docker --image nginx:1.27 --port 8080:80 --health http:80/ --wait=healthy',
  ].join('\n'),
  flags,
  async run({ core, out, args, flags: given }) {
    const input = await readInput(core.cwd, given, args)
    if (!input.ok) return input
    const client = await connect({ core, flags: given })
    if (!client.ok) return client
    const created = await client.value.call('createInstance', { body: input.value })
    if (!created.ok) return created
    const instance = created.value
    return finish({
      core,
      out,
      client: client.value,
      what: 'launched',
      instance,
      next: `holdfast show ${instance.name}`,
      awaited: given.wait,
      timeoutMs: given.waitTimeout,
    })
  },
})

/** The body of the request. Whatever the server's schema can say is left to it; here is only what the words themselves need. */
export async function readInput(
  cwd: string,
  given: FlagValues<typeof flags>,
  command: readonly string[],
): Promise<Result<InstanceInput, Failure>> {
  const runtime = given.runtime ?? (given.image === undefined ? 'process' : 'docker')
  const env = readPairs(given.env)
  if (!env.ok) return usage(`--env: ${env.error}`, 'env')
  const labels = readPairs(given.label)
  if (!labels.ok) return usage(`--label: ${labels.error}`, 'labels')
  const metadata = readPairs(given.metadata)
  if (!metadata.ok) return usage(`--metadata: ${metadata.error}`, 'metadata')
  const ports = given.port.map((word) => readPort(word, runtime))
  const badPort = ports.find((port) => !port.ok)
  if (badPort && !badPort.ok) return usage(`--port: ${badPort.error}`, 'ports')
  const health = given.health.map(readHealth)
  const badCheck = health.find((check) => !check.ok)
  if (badCheck && !badCheck.ok) return usage(`--health: ${badCheck.error}`, 'health')
  const userData = given.userData === undefined ? ok(undefined) : await readWords(cwd, given.userData, '--user-data')
  if (!userData.ok) return userData
  const keys = await readKeys(cwd, given.sshKey)
  if (!keys.ok) return keys
  // A process runs where the person stands, as it would in a shell.
  const workdir = given.workdir !== undefined ? path.resolve(cwd, given.workdir) : runtime === 'process' ? cwd : undefined
  return ok({
    runtime,
    command: [...command],
    env: env.value,
    labels: labels.value,
    metadata: metadata.value,
    ports: ports.flatMap((port) => (port.ok ? [port.value] : [])),
    health: health.flatMap((check) => (check.ok ? [check.value] : [])),
    ssh_authorized_keys: keys.value,
    ...(given.name !== undefined && { name: given.name }),
    ...(given.image !== undefined && { image: given.image }),
    ...(given.cpu !== undefined && { cpu: given.cpu }),
    ...(given.memory !== undefined && { memory: given.memory }),
    ...(given.restart !== undefined && { restart: { policy: given.restart } }),
    ...(userData.value !== undefined && { user_data: userData.value }),
    ...(workdir !== undefined && { working_dir: workdir }),
  })
}

async function readKeys(cwd: string, files: readonly string[]): Promise<Result<string[], Failure>> {
  const keys: string[] = []
  for (const file of files) {
    const read = await readWords(cwd, file, '--ssh-key')
    if (!read.ok) return read
    const lines = read.value.split(/\r?\n/).map((line) => line.trim())
    keys.push(...lines.filter((line) => line !== '' && !line.startsWith('#')))
  }
  return ok(keys)
}

async function readWords(cwd: string, file: string, flagWords: string): Promise<Result<string, Failure>> {
  try {
    return ok(await readFile(path.resolve(cwd, file), 'utf8'))
  } catch (error) {
    return err(failure('invalid_input', `${flagWords}: cannot read ${file} (${errnoOf(error)}).`, { field: flagWords, path: file }, error))
  }
}
