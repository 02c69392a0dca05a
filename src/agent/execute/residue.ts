// What garbage collection keeps and finds on the disk of the node, in one hand.
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { err, ok, type Result } from '../../base/result.ts'
import type { Failure } from '../../contracts/errors.ts'
import { Collected } from '../../contracts/garbage.ts'
import { errnoOf, fileFailure, writeAtomic } from '../journal/files.ts'
import { type EvidenceFiles, openEvidenceFiles } from './evidence-files.ts'
import { type KeptLogFiles, openKeptLogs } from './kept-logs.ts'

export interface Residue {
  readonly evidence: EvidenceFiles
  readonly keptLogs: KeptLogFiles
  /** Deletions that the control plane has not stored yet. */
  readonly untold: {
    load(): Promise<Result<readonly Collected[], Failure>>
    save(items: readonly Collected[]): Promise<Result<void, Failure>>
  }
}

const CollectedList = z.array(Collected)

export function openResidue(stateDir: string): Residue {
  const path = join(stateDir, 'collected.json')
  return {
    evidence: openEvidenceFiles(stateDir),
    keptLogs: openKeptLogs(stateDir),
    untold: {
      async load() {
        try {
          const parsed = CollectedList.safeParse(JSON.parse(await readFile(path, 'utf8')))
          // Not ours to understand: it would be told wrongly.
          return ok(parsed.success ? parsed.data : [])
        } catch (error) {
          return errnoOf(error) === 'ENOENT' || error instanceof SyntaxError ? ok([]) : err(fileFailure(error, path))
        }
      },
      save: (items) => writeAtomic(path, `${JSON.stringify(items)}\n`),
    },
  }
}
