// Writes docs/openapi.json from the route table. A test compares the file with what this makes, so it cannot be forgotten.
import { writeFile } from 'node:fs/promises'
import { VERSION } from '../src/contracts/version.ts'
import { openApiText } from '../src/control/api/openapi-text.ts'

await writeFile(new URL('../docs/openapi.json', import.meta.url), await openApiText(VERSION))
