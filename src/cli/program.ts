// From words to one call of one verb. commander parses; every way it can end comes back as a value here, so that nothing but main.ts
// ends the process, and a usage error looks like every other error.
import { type Argument, Command, CommanderError, Option } from 'commander'
import { err, ok, type Result } from '../base/result.ts'
import { withName } from '../contracts/commands-in-words.ts'
import { ERRORS, type Failure, failure, HoldfastError } from '../contracts/errors.ts'
import type { Core } from './core.ts'
import { EXIT } from './exit.ts'
import { COMMON_FLAGS, type Flag, type Flags, type FlagValues } from './flags.ts'
import { output } from './output.ts'
import { report } from './report.ts'
import { type ListedVerb, USAGE } from './verb.ts'

/** One run of the command line; resolves with the exit code and never rejects. */
export async function runCli(argv: readonly string[], verbs: readonly ListedVerb[], version: string, core: Core): Promise<number> {
  const json = wantsJson(argv)
  try {
    const parsed = parse(argv, verbs, version)
    if (parsed.kind === 'print') {
      await core.out.write(parsed.text)
      return EXIT.ok
    }
    if (parsed.kind === 'usage') return await report(core, json, failure('invalid_input', parsed.problem), parsed.next)
    const outcome = await parsed.verb.start({ core, out: output(core, json), args: parsed.args, raw: parsed.raw, readFlags })
    if (outcome.ok) return outcome.value
    return await report(core, json, outcome.error, nextOf(parsed.verb, outcome.error, parsed.args))
  } catch (error) {
    if (error instanceof HoldfastError) return report(core, json, error.failure)
    const detail = error instanceof Error ? error.message : String(error)
    if (core.env.HOLDFAST_DEBUG && error instanceof Error) await core.err.write(`${error.stack}\n`)
    return report(core, json, failure('internal', detail), 'Run it again with HOLDFAST_DEBUG=1 and report what it prints.')
  }
}

export type Parsed =
  | { readonly kind: 'print'; readonly text: string }
  | { readonly kind: 'usage'; readonly problem: string; readonly next: string }
  | { readonly kind: 'run'; readonly verb: ListedVerb; readonly args: readonly string[]; readonly raw: Readonly<Record<string, unknown>> }

export function parse(argv: readonly string[], verbs: readonly ListedVerb[], version: string): Parsed {
  let printed = ''
  let run: Parsed | undefined
  const program = buildProgram(verbs, version, (verb, args, raw) => {
    run = { kind: 'run', verb, args, raw }
  })
  for (const command of [program, ...descendants(program)])
    command.configureOutput({
      writeOut: (text) => {
        printed += text
      },
      writeErr: () => undefined,
    })
  try {
    program.parse(argv.length === 0 || argv[0] === 'help' ? [...argv.slice(1), '--help'] : [...settled(argv, verbs)], { from: 'user' })
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return ended(error, printed, argv, program)
  }
  return run ?? { kind: 'print', text: printed || program.helpInformation() }
}

/**
 * A flag that may stand alone takes the next word only when that is one of its own; commander would take any, and `start --wait web` would
 * wait for a state called web.
 */
function settled(argv: readonly string[], verbs: readonly ListedVerb[]): readonly string[] {
  const flags = Object.values(verbs.find((verb) => verb.name === argv[0])?.flags ?? {})
  const end = argv.includes('--') ? argv.indexOf('--') : argv.length
  return argv.map((word, index) => {
    const alone = index < end ? flags.find(({ words, bare }) => bare !== undefined && words.split(/[ ,]+/).includes(word)) : undefined
    return alone === undefined || alone.choices.includes(argv[index + 1] ?? '') ? word : `${word}=${alone.bare}`
  })
}

function ended(error: CommanderError, printed: string, argv: readonly string[], program: Command): Parsed {
  if (error.code === 'commander.helpDisplayed' || error.code === 'commander.version') return { kind: 'print', text: printed }
  const parent = program.commands.find((command) => command.name() === argv[0])
  const child = parent?.commands.find((command) => command.name() === argv[1])
  const where = [parent, child].flatMap((command) => (command === undefined ? [] : [command.name()])).join(' ')
  // A parent verb without one of its own below it: its help says what there is.
  if (error.code === 'commander.help') return { kind: 'print', text: (parent ?? program).helpInformation() }
  // What stands where a verb below the parent would: commander knows it only as one argument too many.
  if (error.code === 'commander.excessArguments' && parent !== undefined && child === undefined && parent.commands.length > 0) {
    const below = parent.commands.map((command) => command.name()).join(', ')
    return { kind: 'usage', problem: `${where} has no ${JSON.stringify(argv[1] ?? '')}; it has ${below}`, next: helpOf(where) }
  }
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n')
  const suggestion = rest.map((line) => line.trim().replace('(Did', '(did')).join(' ')
  const problem = [first, suggestion].filter(Boolean).join(' ')
  const swallowed =
    error.code === 'commander.unknownOption' && !argv.includes('--') && parent?.registeredArguments.at(-1)?.variadic === true
  if (swallowed && parent.registeredArguments.at(-1)?.name() === 'command')
    return { kind: 'usage', problem, next: `If it belongs to the command, put -- before the command: holdfast ${where} … -- CMD ARG…` }
  return { kind: 'usage', problem, next: helpOf(where) }
}

/** What the verb knows better than the table of errors; undefined where it does not. */
/** What the verb knows better than the table of errors; of one instance, its name. */
function nextOf(verb: ListedVerb, error: Failure, [first]: readonly string[]): string | undefined {
  if (error.cause === USAGE) return helpOf(verb.name)
  const own = error.code === 'not_found' ? verb.missing : undefined
  const ofInstance = verb.args.startsWith('<id>') && !verb.name.includes(' ')
  return ofInstance && first !== undefined ? withName(own ?? ERRORS[error.code].next, first) : own
}

const helpOf = (verb: string): string => `Run holdfast ${verb === '' ? '' : `${verb} `}--help for what it takes.`

type OnRun = (verb: ListedVerb, args: readonly string[], raw: Readonly<Record<string, unknown>>) => void

export function buildProgram(verbs: readonly ListedVerb[], version: string, onRun: OnRun): Command {
  const program = new Command('holdfast')
    .description('Runs workloads on machines you own, keeps them running, and can say why.')
    .version(version, '-V, --version', 'print the version')
    .exitOverride()
    .showSuggestionAfterError()
    .helpCommand(false)
    .enablePositionalOptions(false)
    .configureHelp({ subcommandTerm: (command) => [command.name(), ...command.registeredArguments.map(argumentTerm)].join(' ') })
    .addHelpText('after', '\nAn <id> is an id, a unique name, or a unique id prefix. Exit codes and environment: docs/cli.md\n')
  for (const verb of verbs) declare(program, verb, onRun)
  return program
}

function declare(program: Command, verb: ListedVerb, onRun: OnRun): void {
  const [first = '', second] = verb.name.split(' ')
  const parent = second === undefined ? program : program.commands.find((command) => command.name() === first)
  const command = (parent ?? program).command(`${second ?? first} ${verb.args}`.trim())
  command.summary(verb.summary).description(`${verb.summary}.`).helpGroup(`${verb.group}:`)
  if (verb.more !== undefined) command.addHelpText('after', `\n${verb.more}\n`)
  for (const each of Object.values(verb.flags)) command.addOption(optionOf(each))
  for (const each of Object.values(COMMON_FLAGS)) command.addOption(optionOf(each).helpGroup('Common options:'))
  command.action(() => {
    onRun(verb, command.args, command.optsWithGlobals())
  })
}

function argumentTerm(argument: Argument): string {
  const name = argument.variadic ? `${argument.name()}...` : argument.name()
  return argument.required ? `<${name}>` : `[${name}]`
}

function optionOf(given: Flag<unknown>): Option {
  const option = new Option(given.words, given.help)
  if (given.choices.length > 0) option.choices([...given.choices])
  if (!given.repeats) return option
  return option.argParser((value: string, before: unknown) => [...(Array.isArray(before) ? before : []), value])
}

const descendants = (command: Command): readonly Command[] => command.commands.flatMap((child) => [child, ...descendants(child)])

async function readFlags<F extends Flags>(
  flags: F,
  raw: Readonly<Record<string, unknown>>,
): Promise<Result<FlagValues<F & typeof COMMON_FLAGS>, Failure>> {
  const values: Record<string, unknown> = {}
  for (const [name, each] of Object.entries({ ...COMMON_FLAGS, ...flags })) {
    const attribute = new Option(each.words).attributeName()
    const read = await each.read(raw[attribute])
    const long = /--[a-z-]+/.exec(each.words)?.[0] ?? each.words
    if (!read.ok) return err(failure('invalid_input', `${long}: ${read.error}`, { field: long }, USAGE))
    values[name] = read.value
  }
  // Each value came from the reader of its own flag: the one place where the loose record gets its type.
  return ok(values as FlagValues<F & typeof COMMON_FLAGS>)
}

/** Known before anything is parsed, because a usage error is printed as JSON too. */
const wantsJson = (argv: readonly string[]): boolean => {
  const end = argv.indexOf('--')
  return (end < 0 ? argv : argv.slice(0, end)).includes('--json')
}
