// Writes docs/openapi.json from the route table. A test compares the file with what this makes, so it cannot be forgotten.
import { writeFile } from 'node:fs/promises'
import { openApiText } from '../src/control/api/openapi-text.ts'
import { CONTROL_VERSION } from '../src/control/config.ts'

await writeFile(new URL('../docs/openapi.json', import.meta.url), await openApiText(CONTROL_VERSION))
