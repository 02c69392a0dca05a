// Colour only for a person at a terminal, and only for words whose meaning it repeats: nothing is told by colour alone.
import { styleText } from 'node:util'

export type Shade = 'good' | 'busy' | 'bad' | 'dim' | 'strong'
export type Paint = (shade: Shade | undefined, text: string) => string

const STYLES = { good: 'green', busy: 'yellow', bad: 'red', dim: 'gray', strong: 'bold' } as const satisfies Record<Shade, string>

export const painter =
  (color: boolean): Paint =>
  (shade, text) =>
    color && shade !== undefined && text !== '' ? styleText(STYLES[shade], text, { validateStream: false }) : text

const SHADES: Readonly<Record<string, Shade>> = {
  running: 'good',
  healthy: 'good',
  completed: 'good',
  ready: 'good',
  usable: 'good',
  failed: 'bad',
  failing: 'bad',
  quarantined: 'bad',
  crash_looping: 'bad',
  unhealthy: 'bad',
  lost: 'bad',
  offline: 'bad',
  stopped: 'dim',
  deleted: 'dim',
  unknown: 'dim',
}

/** The shade of a state word; anything on its way somewhere is busy. */
export const shadeOf = (word: string): Shade => SHADES[word] ?? 'busy'
