/* contracts_cli.c — `odto contracts` alone, so that its tests need neither the CLI nor a host. */
#include "cmd_contracts.h"

int main(int argc, char **argv)
{
    return cmd_contracts(argc - 1, argv + 1);
}
