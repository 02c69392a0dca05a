// `label` and `metadata`: show, set and remove. One call, so that either all changes happen or none.
import { ok } from '../../base/result.ts'
import { EXIT } from '../exit.ts'
import { flag, whole } from '../flags.ts'
import { oneLine } from '../render/human.ts'
import { connect } from '../session.ts'
import { type ListedVerb, usage, verb } from '../verb.ts'
import { readChanges } from './pairs.ts'

const attributeVerb = (kind: 'labels' | 'metadata', name: string, summary: string): ListedVerb =>
  verb({
    name,
    args: '<id> [changes...]',
    group: 'Act',
    summary,
    more: `Examples: holdfast ${name} web tier=front note-      sets tier, removes note\n          holdfast ${name} web                     shows what it has`,
    flags: {
      replace: flag('--replace', `the given ${kind} become all it has`),
      ifVersion: whole('--if-version <n>', 'only if nothing has changed since this version', 0, Number.MAX_SAFE_INTEGER),
    },
    async run({ core, out, args: [id = '', ...words], flags }) {
      const changes = readChanges(words)
      if (!changes.ok) return usage(changes.error)
      const removed = Object.keys(changes.value).find((key) => changes.value[key] === null)
      if (flags.replace && removed !== undefined) return usage(`${removed}- makes no sense with --replace`)
      const client = await connect({ core, flags })
      if (!client.ok) return client
      const reads = words.length === 0 && !flags.replace
      const answer = reads
        ? await client.value.call('getInstance', { params: { id } })
        : await client.value.call('putMetadata', {
            params: { id },
            query: flags.replace ? { mode: 'replace' } : {},
            body: { [kind]: changes.value },
            ...(flags.ifVersion !== undefined && { ifMatch: flags.ifVersion }),
          })
      if (!answer.ok) return answer
      const instance = answer.value
      const lines = Object.entries(instance[kind])
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(([key, value]) => oneLine(`${key}=${value}`))
      await out.value(instance, () => `${lines.length === 0 ? `no ${kind}` : lines.join('\n')}\n`)
      if (!reads) await out.note(`${instance.name} is now at version ${instance.version}`)
      return ok(EXIT.ok)
    },
  })

export const label = attributeVerb('labels', 'label', 'Show, set (K=V) and remove (K-) labels')
export const metadata = attributeVerb('metadata', 'metadata', 'Show, set (K=V) and remove (K-) metadata')
