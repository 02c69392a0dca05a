import { driverConformance } from '../conformance.ts'
import { processHarness } from './test-support.ts'

driverConformance('process, without control groups', async () => processHarness())
