/** Relative links of a Markdown text that lead nowhere. `read` gives the text behind a relative path, or undefined. */
export function brokenLinks(path: string, text: string, read: (link: string) => string | undefined): readonly string[] {
  const prose = withoutCode(text)
  const targets = [...prose.matchAll(/\]\(\s*<?([^)>\s]+)>?[^)]*\)|^\s*\[[^\]]+\]:\s*(\S+)/gm)].map((found) => found[1] ?? found[2] ?? '')
  return targets
    .filter((target) => !/^[a-z][a-z0-9+.-]*:/i.test(target))
    .flatMap((target) => {
      const [file = '', heading] = target.split('#')
      const behind = file === '' ? text : read(decodeURIComponent(file))
      if (behind === undefined) return [`${path}: ${target} does not exist`]
      if (heading === undefined || headingsOf(behind).has(heading)) return []
      return [`${path}: ${target} names no heading`]
    })
}

function withoutCode(text: string): string {
  return text.replace(/^( *)(```|~~~)[^\n]*\n[\s\S]*?^\1?\2[^\n]*$/gm, '').replace(/`[^`\n]*`/g, '')
}

/** Headings as the anchors that the usual renderers make of them: lower case, spaces to hyphens, repeated ones numbered. */
function headingsOf(text: string): ReadonlySet<string> {
  const seen = new Map<string, number>()
  const anchors = new Set<string>()
  for (const found of text.matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const plain = (found[1] ?? '').replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
    const anchor = plain
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-')
    const times = seen.get(anchor) ?? 0
    seen.set(anchor, times + 1)
    anchors.add(times === 0 ? anchor : `${anchor}-${times}`)
  }
  return anchors
}
