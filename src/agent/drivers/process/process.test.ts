import { tmpDir } from '../../../../tests/support/tmp.ts'
import { driverConformance } from '../conformance.ts'
import { processHarness } from './conformance-harness.ts'

driverConformance('process, without control groups', async () => processHarness(await tmpDir()))
