/* cmd_contracts.h — `odto contracts`: validating documents against the schemas of the contract. */
#ifndef ODTO_CMD_CONTRACTS_H
#define ODTO_CMD_CONTRACTS_H

/* The command line from "contracts" (or from the verb) on. Prints to stdout, complaints about the command
 * line or about files that can't be read to stderr. Exit code: 0 all valid, 1 something is not, 2 wrong
 * usage. One thread; keeps nothing. */
int cmd_contracts(int argc, char **argv);

#endif
