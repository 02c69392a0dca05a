// docs/behaviours.md against the tests: which number of the reference is held by which file, or why it does not apply here.

/** The numbers of the reference: reliability, compute and node agent, defects of the earlier system. */
export const NUMBERS: readonly string[] = [
  ...Array.from({ length: 45 }, (_, index) => `T${String(index + 1).padStart(2, '0')}`),
  ...Array.from({ length: 77 }, (_, index) => `C${index + 1}`),
  ...Array.from({ length: 37 }, (_, index) => `B${index + 1}`),
]

/** What may win over a row. */
const AUTHORITY = /\b(?:RUN|SEE|HEAL|PLACE|ROUTE|SEC|STORE|OPS)-\d+\b|\bruling \d|\bissue \d|\bdecision \d|interface\.md|house rule/
const NUMBER = /^(?:T\d\d|[CB][1-9]\d?)$/
const TITLE = /['"`]((?:T\d\d|[CB][1-9]\d?)(?:, (?:T\d\d|[CB][1-9]\d?))*): /g
/** A title that was meant to be one and is not: nobody would find it. */
const NO_COLON = /(?:\btest\(|\)\()\s*['"`]((?:T\d\d|[CB][1-9]\d?)) /g

interface Row {
  readonly number: string
  readonly says: string
  readonly held: string
}

/** The numbers that titles in the text of a test file begin with. */
export const numbersIn = (text: string): ReadonlySet<string> =>
  new Set([...text.matchAll(TITLE)].flatMap(([, numbers = '']) => numbers.split(', ')))

function rowsOf(page: string): readonly Row[] {
  return page.split('\n').flatMap((line) => {
    const [, number = '', says = '', held = '', rest] = line.split('|').map((cell) => cell.trim())
    return NUMBER.test(number) && rest === '' ? [{ number, says, held }] : []
  })
}

const filesIn = (held: string): readonly string[] => [...held.matchAll(/\]\(\.\.\/([^)]+)\)/g)].map(([, path = '']) => path)
/** For defects: the behaviours whose tests hold it. */
const behavioursIn = (held: string): readonly string[] => held.match(/\b(?:T\d\d|C[1-9]\d?)\b/g) ?? []

/** Each thing that is wrong with the page, as a sentence. `tests` gives the text of each test file by its path. */
export function behaviourProblems(page: string, tests: ReadonlyMap<string, string>): readonly string[] {
  const rows = rowsOf(page)
  const byNumber = new Map(rows.map((row) => [row.number, row]))
  const numbered = [...tests].map(([path, text]) => [path, numbersIn(text)] as const)
  const problems: string[] = []
  for (const number of NUMBERS) {
    const count = rows.filter((row) => row.number === number).length
    if (count !== 1) problems.push(`${number} has ${count} rows`)
  }
  for (const [path, text] of tests)
    for (const [, number = ''] of text.matchAll(NO_COLON)) problems.push(`${path}: a title begins with ${number} and no colon`)
  for (const row of rows) problems.push(...problemsOf(row, byNumber, new Map(numbered)))
  for (const [path, numbers] of numbered)
    for (const number of numbers)
      if (!filesIn(byNumber.get(number)?.held ?? '').includes(path))
        problems.push(`${path} has a test of ${number}, its row does not name it`)
  return problems
}

function problemsOf(
  { number, says, held }: Row,
  rows: ReadonlyMap<string, Row>,
  numbered: ReadonlyMap<string, ReadonlySet<string>>,
): readonly string[] {
  const problems: string[] = []
  if (says.length < 10) problems.push(`${number} does not say what it is`)
  const files = filesIn(held)
  for (const path of files) if (!numbered.get(path)?.has(number)) problems.push(`${path} has no test of ${number}`)
  if (files.length > 0) return problems
  if (held.startsWith('Not here: ')) {
    if (!AUTHORITY.test(held)) problems.push(`${number} does not say which requirement or ruling wins`)
    return problems
  }
  const behaviours = number.startsWith('B') ? behavioursIn(held) : []
  if (behaviours.length === 0) problems.push(`${number} names neither a test nor a reason`)
  for (const one of behaviours)
    if (filesIn(rows.get(one)?.held ?? '').length === 0) problems.push(`${number} is said to be held by ${one}, which has no test`)
  return problems
}
