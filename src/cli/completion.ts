// Completion scripts, made from the catalog: verbs, flags, and the words a flag may take. Everything that is offered stands in the script
// itself, so that pressing Tab starts no process and asks no server.
import { COMMON_FLAGS } from './flags.ts'
import type { ListedVerb } from './verb.ts'

interface Word {
  readonly word: string
  readonly help: string
}
interface Entry {
  /** `''`, `launch`, `nodes cordon`. */
  readonly path: string
  readonly words: readonly Word[]
  readonly choices: Readonly<Record<string, readonly string[]>>
}

export function completionScript(shell: 'bash' | 'zsh' | 'fish', verbs: readonly ListedVerb[]): string {
  const entries = toEntries(verbs)
  if (shell === 'bash') return bashScript(entries)
  return shell === 'zsh' ? `${ZSH_PRELUDE}\n${bashScript(entries)}` : fishScript(entries)
}

/** Without `compinit`, which not every .zshrc calls, zsh has no completion to add to. */
const ZSH_PRELUDE = `(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }
autoload -U +X bashcompinit && bashcompinit`

function toEntries(verbs: readonly ListedVerb[]): readonly Entry[] {
  const top: Entry = {
    path: '',
    words: verbs.filter((verb) => !verb.name.includes(' ')).map((verb) => ({ word: verb.name, help: verb.summary })),
    choices: {},
  }
  const rest = verbs.map((verb): Entry => {
    const below = verbs
      .filter((each) => each.name.startsWith(`${verb.name} `))
      .map((each) => ({ word: each.name.slice(verb.name.length + 1), help: each.summary }))
    const flags = Object.values({ ...verb.flags, ...COMMON_FLAGS })
    const words = flags.flatMap((flag) => flagWords(flag.words).map((word) => ({ word, help: flag.help })))
    const choices = flags
      .filter((flag) => flag.choices.length > 0)
      .flatMap((flag) => flagWords(flag.words).map((word) => [word, flag.choices] as const))
    return { path: verb.name, words: [...below, ...words], choices: Object.fromEntries(choices) }
  })
  return [top, ...rest]
}

const flagWords = (words: string): readonly string[] => words.match(/--?[a-zA-Z][a-z-]*/g) ?? []

function bashScript(entries: readonly Entry[]): string {
  const cases = entries.map((entry) => `    ${quote(entry.path)}) words=${quote(entry.words.map(({ word }) => word).join(' '))} ;;`)
  const choices = entries.flatMap((entry) =>
    Object.entries(entry.choices).map(([flag, words]) => `    ${quote(`${entry.path} ${flag}`)}) words=${quote(words.join(' '))} ;;`),
  )
  const parents = entries.filter((entry) => entry.path.includes(' ')).map((entry) => quote(entry.path))
  return `# Completion for holdfast. Load it with: source <(holdfast completion bash)
_holdfast() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} path='' words='' i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case \${COMP_WORDS[i]} in
      -*) ;;
      *)
        if [ -z "$path" ]; then path=\${COMP_WORDS[i]}
        else case "$path \${COMP_WORDS[i]}" in ${[...new Set(parents)].join('|')}) path="$path \${COMP_WORDS[i]}" ;; esac
        fi ;;
    esac
  done
  case "$path" in
${cases.join('\n')}
  esac
  case "$path $previous" in
${choices.join('\n')}
  esac
  COMPREPLY=()
  while IFS= read -r i; do COMPREPLY+=("$i"); done < <(compgen -W "$words" -- "$current")
}
complete -o default -F _holdfast holdfast
`
}

function fishScript(entries: readonly Entry[]): string {
  const lines = entries.flatMap((entry) => {
    const [first, second] = entry.path.split(' ')
    const when =
      first === ''
        ? '__fish_use_subcommand'
        : second === undefined
          ? `__fish_seen_subcommand_from ${first}`
          : `__fish_seen_subcommand_from ${first}; and __fish_seen_subcommand_from ${second}`
    return entry.words.map(({ word, help }) => {
      const choices = entry.choices[word]
      const takes = choices === undefined ? '' : ` -xa ${quote(choices.join(' '))}`
      const name = word.startsWith('--') ? `-l ${word.slice(2)}` : word.startsWith('-') ? `-s ${word.slice(1)}` : `-fa ${word}`
      return `complete -c holdfast -n ${quote(when)} ${name}${takes} -d ${quote(help)}`
    })
  })
  return `# Completion for holdfast. Load it with: holdfast completion fish | source\n${lines.join('\n')}\n`
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`
