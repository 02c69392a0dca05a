// The next command as the person has to type it: in a checkout nothing called `holdfast` is on the PATH, and `npx` finds it.

export const VERB_WORDS = [
  ...[
    'up',
    'down',
    'server',
    'agent',
    'doctor',
    'deploy',
    'undeploy',
    'launch',
    'status',
    'list',
    'show',
    'why',
    'history',
    'logs',
    'stats',
    'events',
  ],
  ...[
    'audit',
    'start',
    'stop',
    'restart',
    'recover',
    'recovery',
    'checks',
    'pause',
    'resume',
    'delete',
    'exec',
    'wait',
    'label',
    'metadata',
    'nodes',
    'orgs',
  ],
  ...['tokens', 'gc', 'chaos', 'completion'],
]

const COMMAND = new RegExp(`(?<![\\w/-]|npx )holdfast (?=(?:${VERB_WORDS.join('|')}|--help)\\b)`, 'g')

/** `name`: `holdfast`, or `npx holdfast`. Only for our own sentences, never for what users wrote. */
export const asTyped = (text: string, name: string): string => text.replace(COMMAND, `${name} `)

/** The same for an error of the API, whose next step may be a command. */
export const errorAsTyped = <E extends { readonly next: string }>(error: E | null, name: string): E | null =>
  error === null ? null : { ...error, next: asTyped(error.next, name) }
