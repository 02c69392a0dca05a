// The instance directories: <state-dir>/instances/<id>/journal holds every record; the drivers keep their own files beside it.
import { readdirSync, readFileSync } from 'node:fs'
import { mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Logger } from '../../base/log.ts'
import { err, ok, type Result } from '../../base/result.ts'
import type { Transition } from '../../contracts/agent-protocol.ts'
import type { Failure } from '../../contracts/errors.ts'
import { InstanceId } from '../../contracts/ids.ts'
import { fileFailure, removeDir, sweepRemoved } from '../journal/files.ts'
import { type Journal, openJournal, readJournalSync } from '../journal/journal.ts'
import { JournalLine } from '../model/record.ts'

export interface InstanceFiles {
  append(id: InstanceId, line: JournalLine): Promise<Result<void, Failure>>
  remove(id: InstanceId): Promise<Result<void, Failure>>
  /** Everything a former agent left; a directory whose journal has no valid line is reported and left alone, one never begun removed. */
  load(): Promise<Result<readonly { readonly last: JournalLine; readonly transitions: readonly Transition[] }[], Failure>>
}

export function openInstanceFiles(stateDir: string, log: Logger): InstanceFiles {
  const root = join(stateDir, 'instances')
  const journals = new Map<InstanceId, Journal>()

  const journalOf = async (id: InstanceId): Promise<Result<Journal, Failure>> => {
    const known = journals.get(id)
    if (known) return ok(known)
    const dir = join(root, id)
    try {
      await mkdir(dir, { recursive: true, mode: 0o700 })
    } catch (error) {
      return err(fileFailure(error, dir))
    }
    const journal = openJournal(join(dir, 'journal'))
    journals.set(id, journal)
    return ok(journal)
  }

  return {
    async append(id, line) {
      const journal = await journalOf(id)
      return journal.ok ? journal.value.append(line) : journal
    },
    async remove(id) {
      journals.delete(id)
      return removeDir(join(root, id))
    },
    async load() {
      try {
        await mkdir(root, { recursive: true, mode: 0o700 })
        const swept = await sweepRemoved(root)
        if (!swept.ok) return swept
        const found: { last: JournalLine; transitions: readonly Transition[] }[] = []
        for (const name of (await readdir(root)).sort()) {
          const id = InstanceId.safeParse(name)
          if (!id.success) continue
          const lines = readLines(join(root, name, 'journal'), id.data, log)
          const last = lines.at(-1)
          if (last) found.push({ last, transitions: lines.flatMap((line) => line.transitions) })
          else if (neverBegun(join(root, name))) {
            const removed = await removeDir(join(root, name))
            if (!removed.ok) return removed
          } else log.error('instance directory without a readable journal', { instance_id: id.data })
        }
        return ok(found)
      } catch (error) {
        return err(fileFailure(error, root))
      }
    },
  }
}

/** An agent ended in its very first write: nothing was on the disk, so nothing had an effect, and nothing else is there. */
function neverBegun(dir: string): boolean {
  try {
    const names = readdirSync(dir)
    return names.length === 0 || (names.join() === 'journal' && !readFileSync(join(dir, 'journal')).includes('\n'))
  } catch {
    // What cannot be read is reported, not removed.
    return false
  }
}

/** A journal that cannot be read is one instance's trouble: the others are looked after. */
function readLines(path: string, id: InstanceId, log: Logger): readonly JournalLine[] {
  try {
    const parsed = readJournalSync(path).map((raw) => JournalLine.safeParse(raw))
    const strange = parsed.filter((line) => !line.success).length
    // Written whole, and not by this version: what they said of the instance is gone from here on.
    if (strange > 0) log.error('journal lines not understood', { instance_id: id, lines: strange, of: parsed.length })
    return parsed.flatMap((line) => (line.success ? [line.data] : []))
  } catch (error) {
    const { code, detail } = fileFailure(error, path)
    log.error('instance journal not read', { instance_id: id, error_code: code, error: detail })
    return []
  }
}
