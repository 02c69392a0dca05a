// `npm run bench -- NAME [words]`: runs bench/NAME.ts under the Node that this runs under.
import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

const [name = '', ...words] = process.argv.slice(2)
const known = readdirSync(import.meta.dirname).flatMap((file) => (/^(?!main\.).*\.ts$/.test(file) ? [file.slice(0, -3)] : []))
if (!known.includes(name)) throw new Error(`no bench ${name}; there are ${known.join(', ')}`)
const child = spawn(process.execPath, [join(import.meta.dirname, `${name}.ts`), ...words], { stdio: 'inherit' })
child.once('exit', (code) => {
  process.exitCode = code ?? 1
})
