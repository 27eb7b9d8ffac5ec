/*-------------------------------------------------------------------------
 *
 * hook.c
 *	  Makes way for commands that need a database to themselves.
 *
 * DROP DATABASE, CREATE DATABASE ... TEMPLATE and ALTER DATABASE ... RENAME
 * fail while anybody is connected, and a dispatcher always is.  So before
 * such a command, by somebody who owns the database, its dispatcher is asked
 * to leave, and the launcher not to start another until the command is over.
 * DROP EXTENSION needs its tables to itself, which a maintenance run has
 * locked: it is given a moment to end.
 *
 * PREPARE TRANSACTION is noted: what is true when a transaction commits is not
 * known then.
 *
 * ALTER TABLE ... SET UNLOGGED of one of the extension's tables is refused: a
 * crash would empty it, and a standby would not have it.  So is a schema that
 * takes the name of the extension's while that is called otherwise: who makes
 * it could put there what runs as the owner of the extension.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "commands/extension.h"
#include "compat.h"
#include "hook.h"
#include "maintainer.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "registry.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "tcop/utility.h"
#include "txn.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

/* Should the command's backend die, the launcher goes on after this. */
#define HOLD_US				(30 * USECS_PER_SEC)

/* How long to wait for the dispatcher; then the command itself complains. */
#define WAIT_US				(5 * USECS_PER_SEC)
#define WAIT_STEP_MS		10

/* A maintenance run may take so long to end by itself. */
#define PATIENCE_US			USECS_PER_SEC

/* After the command it takes less than this until its commit is seen. */
#define COMMIT_US			(USECS_PER_SEC / 2)

static ProcessUtility_hook_type prev_process_utility = NULL;

/* The last one that was told to PREPARE, which happens after the command. */
static FullTransactionId preparing;

static const char *
template_of(CreatedbStmt *stmt)
{
	ListCell   *cell;

	foreach(cell, stmt->options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, "template") == 0 && option->arg)
			return defGetString(option);
	}
	return NULL;
}

/* The database of ALTER DATABASE ... SET TABLESPACE; NULL: of another kind. */
static const char *
moved_database(AlterDatabaseStmt *stmt)
{
	if (stmt->options == NIL ||
		strcmp(linitial_node(DefElem, stmt->options)->defname,
			   "tablespace") != 0)
		return NULL;
	return stmt->dbname;
}

/* Which database must be free for this command; NULL: none. */
static const char *
database_needed(Node *command)
{
	if (IsA(command, AlterDatabaseStmt))
		return moved_database((AlterDatabaseStmt *) command);
	if (IsA(command, DropdbStmt))
		return ((DropdbStmt *) command)->dbname;
	if (IsA(command, CreatedbStmt))
		return template_of((CreatedbStmt *) command);
	if (IsA(command, RenameStmt) &&
		((RenameStmt *) command)->renameType == OBJECT_DATABASE)
		return ((RenameStmt *) command)->subname;
	return NULL;
}

/* Finds the entry of a database that the user may do such things to. */
static WoDatabase *
find_database(const char *name)
{
	Oid			database_id = name ? get_database_oid(name, true) : InvalidOid;

	if (!OidIsValid(database_id) ||
		!WoOwnsDatabase(database_id, GetUserId()))
		return NULL;
	return wo_registry_find(database_id, false);
}

/* Is this DROP EXTENSION webhook_outbox, by somebody who may? */
static bool
drops_extension(Node *command)
{
	ListCell   *cell;

	if (!IsA(command, DropStmt) ||
		((DropStmt *) command)->removeType != OBJECT_EXTENSION)
		return false;
	foreach(cell, ((DropStmt *) command)->objects)
	{
		if (strcmp(strVal(lfirst(cell)), WO_EXTENSION) == 0)
		{
			Oid			extension = get_extension_oid(WO_EXTENSION, true);

			return OidIsValid(extension) &&
				WoOwnsExtension(extension, GetUserId());
		}
	}
	return false;
}

/* Is this ALTER TABLE ... SET UNLOGGED? */
static bool
makes_unlogged(AlterTableStmt *stmt)
{
	ListCell   *cell;

	foreach(cell, stmt->cmds)
	{
		if (lfirst_node(AlterTableCmd, cell)->subtype == AT_SetUnLogged)
			return true;
	}
	return false;
}

/* Fails if the command takes a table of the extension out of the WAL. */
static void
keep_logged(Node *command)
{
	AlterTableStmt *stmt = (AlterTableStmt *) command;
	Oid			relation;
	Oid			extension;

	if (!IsA(command, AlterTableStmt) || !makes_unlogged(stmt))
		return;
	extension = get_extension_oid(WO_EXTENSION, true);
	relation = RangeVarGetRelid(stmt->relation, NoLock, true);
	if (!OidIsValid(extension) || !OidIsValid(relation) ||
		getExtensionOfObject(RelationRelationId, relation) != extension)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("table \"%s\" of webhook_outbox cannot be unlogged",
					stmt->relation->relname),
			 errhint("A crash would empty it, and events that are not delivered would be lost.")));
}

/* May there be a schema of a new name after this command? */
static bool
names_schema(Node *command)
{
	return IsA(command, CreateSchemaStmt) ||
		(IsA(command, RenameStmt) &&
		 ((RenameStmt *) command)->renameType == OBJECT_SCHEMA);
}

/*
 * Fails if somebody has made a schema of the name by which functions and
 * workers call what is the extension's, and which its own has not now.
 */
static void
keep_name(void)
{
	Oid			owner;
	Oid			own_id;
	Oid			found_id;

	CommandCounterIncrement();
	found_id = get_namespace_oid(WO_EXTENSION, true);
	if (!OidIsValid(found_id) || !wo_txn_find_extension(&owner, &own_id) ||
		found_id == own_id)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_RESERVED_NAME),
			 errmsg("schema \"%s\" would take the name of that of the extension, which was renamed to %s",
					WO_EXTENSION,
					quote_identifier(get_namespace_name(own_id))),
			 errhint("Run ALTER SCHEMA %s RENAME TO %s, or choose another name.",
					 quote_identifier(get_namespace_name(own_id)),
					 WO_EXTENSION)));
}

static bool
is_prepare(Node *command)
{
	return IsA(command, TransactionStmt) &&
		((TransactionStmt *) command)->kind == TRANS_STMT_PREPARE;
}

/* Sends the workers away and waits until they are gone, within limits. */
static void
send_away(WoDatabase *database)
{
	TimestampTz now = GetCurrentTimestamp();
	TimestampTz deadline = now + WAIT_US;
	int			pid;

	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	database->held_until = now + HOLD_US;
	pid = database->pid;
	LWLockRelease(wo_registry->lock);
	if (pid != 0)
		(void) kill(pid, SIGTERM);
	while (database->pid != 0 && GetCurrentTimestamp() < deadline)
	{
		CHECK_FOR_INTERRUPTS();
		pg_usleep(WAIT_STEP_MS * 1000);
	}
	wo_maintainer_send_away(database, now + PATIENCE_US);
}

/* Before DROP EXTENSION. */
static void
end_maintenance(void)
{
	WoDatabase *database = wo_registry_find(MyDatabaseId, false);

	if (database != NULL)
		wo_maintainer_send_away(database,
								GetCurrentTimestamp() + PATIENCE_US);
}

/*
 * The command is over, but not committed yet: a moment later the launcher
 * sees which databases there are then.
 */
static void
call_back(WoDatabase *database)
{
	LWLockAcquire(wo_registry->lock, LW_EXCLUSIVE);
	database->held_until = GetCurrentTimestamp() + COMMIT_US;
	database->next_start_at = 0;
	LWLockRelease(wo_registry->lock);
	wo_registry_wake(pg_atomic_read_u32(&wo_registry->launcher));
}

static void
run_command(PlannedStmt *planned, const char *query, bool is_read_only_tree,
			ProcessUtilityContext context, ParamListInfo params,
			QueryEnvironment *environment, DestReceiver *dest,
			QueryCompletion *completion)
{
	if (prev_process_utility)
		prev_process_utility(planned, query, is_read_only_tree, context,
							 params, environment, dest, completion);
	else
		standard_ProcessUtility(planned, query, is_read_only_tree, context,
								params, environment, dest, completion);
}

static void
process_utility(PlannedStmt *planned, const char *query,
				bool is_read_only_tree, ProcessUtilityContext context,
				ParamListInfo params, QueryEnvironment *environment,
				DestReceiver *dest, QueryCompletion *completion)
{
	const char *name = database_needed(planned->utilityStmt);
	WoDatabase *database = name ? find_database(name) : NULL;

	/* the command may be freed when it is over */
	bool		is_naming = names_schema(planned->utilityStmt);

	keep_logged(planned->utilityStmt);
	if (is_prepare(planned->utilityStmt))
		preparing = GetTopFullTransactionIdIfAny();
	if (drops_extension(planned->utilityStmt))
		end_maintenance();
	if (database == NULL)
	{
		run_command(planned, query, is_read_only_tree, context, params,
					environment, dest, completion);
		if (is_naming)
			keep_name();
		return;
	}
	PG_TRY();
	{
		send_away(database);
		run_command(planned, query, is_read_only_tree, context, params,
					environment, dest, completion);
	}
	PG_FINALLY();
	{
		call_back(database);
	}
	PG_END_TRY();
}

/* Is the transaction being prepared, not committed? */
bool
wo_hook_is_preparing(void)
{
	return FullTransactionIdIsValid(preparing) &&
		FullTransactionIdEquals(preparing,
								GetTopFullTransactionIdIfAny());
}

/* Called while shared libraries are preloaded. */
void
wo_hook_install(void)
{
	prev_process_utility = ProcessUtility_hook;
	ProcessUtility_hook = process_utility;
}
