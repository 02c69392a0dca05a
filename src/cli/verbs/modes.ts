// `recovery` and `checks`: how much the platform does by itself for one instance. Both go through one route and restart nothing.
import { ok } from '../../base/result.ts'
import type { InstanceView } from '../../contracts/views.ts'
import { EXIT } from '../exit.ts'
import { whole } from '../flags.ts'
import { modeText } from '../render/modes.ts'
import { connect } from '../session.ts'
import { type ListedVerb, usage, verb } from '../verb.ts'

interface ModeVerb {
  readonly name: string
  readonly summary: string
  readonly modes: readonly string[]
  readonly more: string
  readonly body: (mode: string | null) => Record<string, unknown>
  readonly shown: (instance: InstanceView) => string
}

const modeVerb = ({ name, summary, modes, more, body, shown }: ModeVerb): ListedVerb =>
  verb({
    name,
    args: '<id> [mode]',
    group: 'Act',
    summary,
    more,
    flags: { ifVersion: whole('--if-version <n>', 'only if nothing has changed since this version', 0, Number.MAX_SAFE_INTEGER) },
    async run({ core, out, args: [id = '', mode], flags }) {
      if (mode !== undefined && !modes.includes(mode)) return usage(`${mode} is none of ${modes.join(', ')}`)
      const client = await connect({ core, flags })
      if (!client.ok) return client
      const answer =
        mode === undefined
          ? await client.value.call('getInstance', { params: { id } })
          : await client.value.call('putRecovery', {
              params: { id },
              body: body(mode === 'default' ? null : mode),
              ...(flags.ifVersion !== undefined && { ifMatch: flags.ifVersion }),
            })
      if (!answer.ok) return answer
      const instance = answer.value
      const wished = mode === 'default' ? 'left to its env or node' : mode
      await out.value(instance, () =>
        mode === undefined
          ? `${shown(instance)}\n`
          : `${name} of ${instance.name} (${instance.id}): ${wished}\n${out.next(`holdfast why ${instance.name}`)}`,
      )
      return ok(EXIT.ok)
    },
  })

export const recovery = modeVerb({
  name: 'recovery',
  summary: 'Set or show whether an instance is recovered by itself: off, observe, on, default',
  modes: ['off', 'observe', 'on', 'default'],
  more: 'observe counts and tells what would be recovered, and does nothing. default leaves it to its env, or else its node.',
  body: (mode) => ({ mode }),
  shown: ({ modes }) => modeText(modes.recovery),
})

export const checks = modeVerb({
  name: 'checks',
  summary: 'Set or show whether the health of an instance is checked: on, off, default',
  modes: ['on', 'off', 'default'],
  more: 'default leaves it to its env, or else its node.',
  body: (mode) => ({ health_checks: mode }),
  shown: ({ modes }) => modeText(modes.health_checks),
})
