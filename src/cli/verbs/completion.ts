import { ok } from '../../base/result.ts'
import { EXIT } from '../exit.ts'
import { type ListedVerb, usage, verb } from '../verb.ts'

const SHELLS = ['bash', 'zsh', 'fish'] as const

const HOW = {
  bash: 'source <(holdfast completion bash)',
  zsh: 'source <(holdfast completion zsh)',
  fish: 'holdfast completion fish | source',
}

/** `verbs`: the whole catalog, asked for when the verb runs because it is part of it. */
export const completion = (verbs: () => readonly ListedVerb[]): ListedVerb =>
  verb({
    name: 'completion',
    args: '<shell>',
    group: 'Operate',
    summary: 'Print a completion script for bash, zsh or fish',
    more: Object.values(HOW).join('\n'),
    flags: {},
    async run({ core, args: [given = ''] }) {
      const shell = SHELLS.find((each) => each === given)
      if (shell === undefined) return usage(`${given} is none of ${SHELLS.join(', ')}`, 'shell')
      const { completionScript } = await import('../completion.ts')
      await core.out.write(completionScript(shell, verbs()))
      return ok(EXIT.ok)
    },
  })
