import { readFileSync, statSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { expect, onTestFinished, test } from 'vitest'
import { type DockerHarness, dockerHarness } from '../../../../tests/support/docker-harness.ts'
import { describeNeeds } from '../../../../tests/support/needs.ts'
import { waitFor } from '../../../../tests/support/wait.ts'
import type { CloudInitStatus } from '../../../contracts/phase.ts'
import type { InstanceSpec } from '../../../contracts/spec.ts'
import { Bench } from '../conformance-kit.ts'
import type { Wanted } from '../driver.ts'

const blob = (letter: string) =>
  Buffer.concat([Buffer.from([0, 0, 0, 11]), Buffer.from('ssh-ed25519'), Buffer.from([0, 0, 0, 32]), Buffer.alloc(32, letter)])
const KEY = `ssh-ed25519 ${blob('a').toString('base64')} me`
const OTHER = `ssh-ed25519 ${blob('b').toString('base64')} other`

interface Guest {
  readonly bench: Bench
  readonly harness: DockerHarness
  readonly want: Wanted
  status(): Promise<CloudInitStatus>
  steps(): Promise<Record<string, string | number>>
  sh(script: string): Promise<string>
}

async function launch(change: Partial<InstanceSpec>): Promise<Guest> {
  const harness = await dockerHarness()
  onTestFinished(() => harness.dispose())
  const bench = new Bench(harness)
  const want = bench.want({ kind: 'run' }, change)
  await bench.start(want)
  const status = () =>
    waitFor(
      async () => {
        const now = (await bench.seen(want))?.cloudInit
        return now?.done && now
      },
      { what: 'cloud-init is done', deadlineMs: 20_000 },
    )
  return {
    bench,
    harness,
    want,
    status,
    steps: async () => Object.fromEntries((await status()).steps.map((step) => [step.step, step.ok ? 'ok' : (step.exitCode ?? 'failed')])),
    sh: async (script) => (await bench.exec(want, { kind: 'run' }, { command: ['/bin/sh', '-c', script], user: '0' })).stdout.toString(),
  }
}
const config = (body: string): Partial<InstanceSpec> => ({ userData: `#cloud-config\n${body}` })
const MODES = 'stat -c "%a %U" /root/.ssh /root/.ssh/authorized_keys; cat /root/.ssh/authorized_keys'

describeNeeds('docker', 'cloud-init in a container', () => {
  test('C23: keys of the instance: .ssh 0700, authorized_keys 0600, owned by the user, for root and each named user', async () => {
    const guest = await launch({ ...config(`users: [app, {name: dev, ssh_authorized_keys: ['${OTHER}']}]\n`), sshAuthorizedKeys: [KEY] })
    expect(await guest.sh(MODES)).toBe(`700 root\n600 root\n${KEY}\n`)
    expect(await guest.sh(MODES.replaceAll('/root', '/home/app'))).toBe(`700 app\n600 app\n${KEY}\n`)
    expect(await guest.sh(`${MODES.replaceAll('/root', '/home/dev')}; id -u dev`)).toBe(`700 dev\n600 dev\n${KEY}\n${OTHER}\n1001\n`)
  })

  test('keys and files are there before the first instruction of the workload', async () => {
    const guest = await launch({
      ...config('write_files: [{path: /etc/app.conf, content: ready}]'),
      sshAuthorizedKeys: [KEY],
      command: ['/bin/sh', '-c', 'cat /etc/app.conf; test -s /root/.ssh/authorized_keys && echo keys; sleep 600'],
    })
    await waitFor(async () => (await guest.bench.output(guest.want)).includes('keys'), {
      what: 'what the workload saw',
      deadlineMs: 10_000,
    })
    // An unfinished line and the next word: both were printed at the very start.
    expect(await guest.bench.output(guest.want)).toBe('readykeys\n')
  })

  test('write_files: encodings, permissions, owner, append, missing directories, names a shell would trip over', async () => {
    const guest = await launch(
      config(`
write_files:
- {path: /srv/deep/er/a, content: "plain\\n", permissions: '0640', owner: 'app:app'}
- {path: /b, content: ${Buffer.from('b64\n').toString('base64')}, encoding: b64}
- {path: /c, content: ${gzipSync('zipped\n').toString('base64')}, encoding: gz+b64}
- {path: /etc/passwd, content: "late:x:77:77::/:/bin/sh\\n", append: true}
- {path: "/tmp/it's $(touch pwned) \\"x\\"", content: "odd\\n"}
`),
    )
    expect(await guest.sh('stat -c "%a %U:%G" /srv/deep/er/a /srv/deep; cat /srv/deep/er/a /b /c')).toBe(
      '640 app:app\n755 root:root\nplain\nb64\nzipped\n',
    )
    expect(await guest.sh('id -u late; id -u app; cat /tmp/it*; find / -xdev -name pwned')).toBe('77\n1000\nodd\n')
  })

  test('C25: list commands keep their words exactly, text goes through sh, both as root, in order', async () => {
    const guest = await launch({
      ...config(`
runcmd:
- [sh, -c, 'printf "%s|" "$@" > /out', x, "two  words", "$(id)", '"', '*', '1.50']
- echo a; id -un >> /out; printf '%s' "$HOME" > /dev/null
`),
      security: { privileged: false, capabilitiesAdd: [], capabilitiesDrop: [], readOnlyRoot: false, user: 'app' },
    })
    expect(await guest.steps()).toEqual({ 'runcmd[0]': 'ok', 'runcmd[1]': 'ok' })
    expect(await guest.sh('cat /out')).toBe('two  words|$(id)|"|*|1.50|root\n')
  })

  test('C24: a failing step and packages without a tool are reported and undo nothing', async () => {
    const guest = await launch({
      ...config(`packages: [curl]\nhostname: x\nruncmd:\n- echo told; exit 3\n- [/no/such]\n- touch /after\n`),
      sshAuthorizedKeys: [KEY],
    })
    const status = await guest.status()
    expect(await guest.steps()).toMatchObject({ 'ssh_authorized_keys root': 'ok', packages: 'failed', 'runcmd[0]': 3, 'runcmd[2]': 'ok' })
    expect(status.steps.find((step) => step.step === 'runcmd[0]')?.output).toBe('told\n')
    expect(status.unsupported).toEqual(['hostname', 'packages: the image has none of apk, apt-get and dnf'])
    expect(await guest.sh('ls /after; wc -l < /root/.ssh/authorized_keys')).toBe('/after\n1\n')
  })

  test('a script runs once as root and leaves no copy of itself', async () => {
    const guest = await launch({ userData: '#!/bin/sh -e\nid -un > /who\necho "$0"\nfalse\necho never\n' })
    expect(await guest.steps()).toEqual({ script: 1 })
    expect((await guest.status()).steps[0]?.output).toBe('/dev/stdin\n')
    expect(await guest.sh('cat /who; grep -rl never /tmp /var /run /root 2>/dev/null')).toBe('root\n')
  })

  test('C27: 200 KiB of user data, also as a single command', async () => {
    const guest = await launch(config(`runcmd:\n- ": ${'x'.repeat(200 * 1024)}; echo big > /out"\n`))
    expect(await guest.steps()).toEqual({ 'runcmd[0]': 'ok' })
    expect(await guest.sh('cat /out')).toBe('big\n')
  })

  test('an image of one program: files and keys arrive, text commands are named as unsupported', async () => {
    const guest = await launch({
      ...config(`write_files: [{path: /srv/a/b, content: x}]\nruncmd: [echo hi, [/bin/sleep, "0"]]\n`),
      image: 'holdfast-test/noshell:1',
      command: ['/bin/sleep', '600'],
      sshAuthorizedKeys: [KEY],
    })
    expect(await guest.steps()).toEqual({
      'ssh_authorized_keys root': 'ok',
      'write_files /srv/a/b': 'ok',
      'runcmd[0]': 'failed',
      'runcmd[1]': 'ok',
    })
    expect((await guest.status()).unsupported).toEqual(['runcmd[0]: the image has no /bin/sh'])
    const { status } = await guest.harness.call('GET', `/containers/holdfast-${guest.want.id}-1/archive?path=/root/.ssh/authorized_keys`)
    expect(status).toBe(200)
  })

  test('a read-only root is told, and the workload runs', async () => {
    const guest = await launch({
      sshAuthorizedKeys: [KEY],
      security: { privileged: false, capabilitiesAdd: [], capabilitiesDrop: [], readOnlyRoot: true, user: null },
    })
    expect(await guest.steps()).toEqual({ 'ssh_authorized_keys root': 'failed' })
    expect((await guest.bench.seen(guest.want))?.state).toBe('running')
  })

  test('each new container gets keys and commands again; a stop and a start of the same one does not', async () => {
    const guest = await launch({ ...config('runcmd: [echo run >> /count]'), sshAuthorizedKeys: [KEY] })
    await guest.status()
    const name = `holdfast-${guest.want.id}-1`
    await guest.harness.call('POST', `/containers/${name}/restart?t=0`)
    await guest.bench.seen(guest.want)
    expect(await guest.sh('cat /count')).toBe('run\n')
    await guest.bench.stop(guest.want, 10)
    const next = guest.bench.want({ kind: 'run' }, { ...guest.want.spec }, { id: guest.want.id, incarnation: 2 })
    await guest.bench.start(next)
    const count = await guest.bench.exec(next, { kind: 'run' }, { command: ['cat', '/count', '/root/.ssh/authorized_keys'] })
    expect(count.stdout.toString()).toBe(`run\n${KEY}\n`)
  })

  test('an agent that dies in the middle: the next one goes on, the command under way is not run twice, nothing secret stays', async () => {
    const guest = await launch(config('runcmd:\n- echo one >> /count\n- echo two >> /count; sleep 8\n- echo three >> /count\n'))
    await waitFor(async () => (await guest.sh('cat /count')).includes('two'), {
      what: 'the second command is under way',
      deadlineMs: 20_000,
    })
    guest.bench.driver = await guest.harness.reopen()
    const steps = await guest.steps()
    expect(steps).toEqual({ 'runcmd[0]': 'ok', 'runcmd[1]': 'failed', 'runcmd[2]': 'ok' })
    expect(await guest.sh('cat /count')).toBe('one\ntwo\nthree\n')
    const path = `${guest.harness.stateDir}/instances/${guest.want.id}/run/1/cloud-init.json`
    expect([JSON.parse(readFileSync(path, 'utf8')).todo, statSync(path).mode & 0o777]).toEqual([[], 0o600])
  })

  test('user data that is wrong is refused before anything is started', async () => {
    const harness = await dockerHarness()
    onTestFinished(() => harness.dispose())
    const bench = new Bench(harness)
    const result = await bench.driver.start(bench.want({ kind: 'run' }, { userData: '#cloud-config\na: [' }), bench.signal)
    expect([result.ok || result.error.code, await harness.leftovers()]).toEqual(['invalid_user_data', []])
  })
})
