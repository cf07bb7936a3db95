/**
 * stores — what restore and roll-back promise, on PostgreSQL and Redis; DB_File keeps it in the unit tests.
 */
import { declareContract, declareScans } from '../workers/bayes-contract.ts';

declareScans('postgres');
declareScans('redis');
declareContract('postgres');
declareContract('redis');
