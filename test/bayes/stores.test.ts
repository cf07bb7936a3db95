/**
 * stores — what restore and roll-back promise, on PostgreSQL and Redis; DB_File keeps it in the unit tests.
 */
import { declareAborts, declareContract, declareScans } from '../workers/bayes-contract.ts';

declareScans('postgres');
declareScans('redis');
declareAborts('redis');
declareContract('postgres');
declareContract('redis');
