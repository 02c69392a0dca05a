import { ok } from '../../base/result.ts'
import { asTyped } from '../called.ts'
import { EXIT } from '../exit.ts'
import { oneLine } from '../render/human.ts'
import type { Paint } from '../render/paint.ts'
import type { Finding } from '../run/doctor.ts'
import { verb } from '../verb.ts'

export const doctor = verb({
  name: 'doctor',
  args: '',
  group: 'Platform',
  summary: 'Check what is usable here, and name the command that fixes what is not',
  more: 'Needs no running platform. Exit code 1 when something that everything needs is broken.',
  flags: {},
  async run({ core, out, flags }) {
    const { examine } = await import('../run/doctor.ts')
    const findings = await examine(core, flags)
    await out.value({ findings }, () => asTyped(findingsText(findings, out.paint), core.called))
    return ok(findings.some((finding) => finding.standing === 'broken') ? EXIT.unexpected : EXIT.ok)
  },
})

const WORDS = {
  usable: { shade: 'good', word: 'ok' },
  degraded: { shade: 'busy', word: 'limited' },
  optional: { shade: 'dim', word: 'absent' },
  broken: { shade: 'bad', word: 'broken' },
} as const

export function findingsText(findings: readonly Finding[], paint: Paint): string {
  const width = Math.max(0, ...findings.map((finding) => finding.name.length))
  return findings
    .map((finding) => {
      const { shade, word } = WORDS[finding.standing]
      const fix = finding.fix === null ? '' : `\n${' '.repeat(width + 12)}fix: ${oneLine(finding.fix)}`
      return `${finding.name.padEnd(width)}  ${paint(shade, word.padEnd(8))}  ${oneLine(finding.detail)}${fix}\n`
    })
    .join('')
}
