"""The GraphQL schema of the Labelbox stand-in, written from the operations of labelbox 7.17 and nothing else.

A field, argument, operation or variable type that the SDK does not use is refused, so that an invented one cannot pass a test.
"""

from __future__ import annotations

from graphql import GraphQLSchema, build_schema

SDL = """
scalar DateTime
scalar Json
scalar UInt64
scalar PageSize

enum TaskStreamType { RESULT ERRORS }
enum IdType { ID GKEY }

input WhereUniqueIdInput { id: ID! }
input WhereDeletedInput { deleted: Boolean! }

type Query {
  dataset(where: WhereUniqueIdInput!): Dataset
  datasets(where: WhereDeletedInput!, skip: Int, first: Int): [Dataset!]!
  project(where: WhereUniqueIdInput!): Project
  user(where: WhereUniqueIdInput): User!
  organization: Organization!
  task(where: WhereUniqueIdInput): Task
  embeddings: [Embedding!]!
  customMetadataOntology: [MetadataSchema!]!
  dataRowCustomMetadata(where: DataRowCustomMetadataWhereInput!): [RowMetadata!]!
  queryAllDataRowsHaveBeenProcessed(dataRowIds: [ID!], globalKeys: [ID!]): Processed!
  getSavedQuery(id: ID!): SavedQuery
  catalogSavedQueries: [SavedQuery!]!
  datasetDataRows(id: ID!, from: ID, first: Int, where: DatasetDataRowWhereInput): DataRowConnection!
  getDataRowIdentifiersBySavedQuery(input: RowsOfSavedQueryInput!): RowIdentifierConnection!
}

input DatasetDataRowWhereInput { externalId: String }
input RowsOfSavedQueryInput { savedQueryId: ID! after: String first: Int! }
type NamedMetadataValue { schemaId: ID! name: String! value: Json kind: String }
type DataRow {
  id: ID! externalId: String globalKey: ID mediaAttributes: Json rowData: String createdAt: DateTime! updatedAt: DateTime!
  customMetadata: [MetadataValue!]! metadataFields: [NamedMetadataValue!]!
}
type DataRowConnection { nodes: [DataRow!]! pageInfo: PageInfo! }
type RowIdentifier { id: ID! globalKey: ID }
type RowIdentifierConnection { totalCount: Int! nodes: [RowIdentifier!]! pageInfo: PageInfo! }

type Dataset { id: ID! name: String! description: String createdAt: DateTime! updatedAt: DateTime! rowCount: Int! }
type Organization { id: ID! name: String! createdAt: DateTime! updatedAt: DateTime! }
type User {
  id: ID! email: String! name: String! nickname: String! picture: String isViewer: Boolean! isExternalUser: Boolean!
  createdAt: DateTime! updatedAt: DateTime! lastLoginAt: DateTime timezone: String
  createdTasks(where: WhereUniqueIdInput!, skip: Int, first: Int): [Task!]!
}
type Task {
  id: ID! name: String status: String! type: String completionPercentage: Float createdAt: DateTime! updatedAt: DateTime!
  result: String errors: String metadata: Json
  exportMetadataHeader(streamType: TaskStreamType!): ExportMetadataHeader
  exportFileFromOffset(streamType: TaskStreamType!, offset: UInt64!): ExportFile
}
type ExportMetadataHeader { totalSize: Float! totalLines: Int! }
type ExportFile { offsets: SizeRange! lines: SizeRange! file: String! }
type SizeRange { start: Float! end: Float! }
type Embedding { id: ID! name: String! dims: Int! custom: Boolean! }
type MetadataSchema { id: ID! name: String! kind: String! reserved: Boolean! options: [MetadataSchema!] }
type MetadataValue { schemaId: ID! value: Json }
type RowMetadata { dataRowId: ID globalKey: ID fields: [MetadataValue!]! }
type RowMetadataReply { dataRowId: ID globalKey: ID error: String fields: [MetadataValue!]! }
type Processed { allDataRowsHaveBeenProcessed: Boolean! }
type SavedQuery { id: ID! name: String! description: String filter: Json createdAt: DateTime! updatedAt: DateTime! }
type PageInfo { endCursor: String startCursor: String hasNextPage: Boolean }
type Batch { id: ID! name: String! size: Int! createdAt: DateTime! updatedAt: DateTime! consensusSettingsJson: String }
type BatchConnection { nodes: [Batch!]! pageInfo: PageInfo! }
type Project {
  id: ID! name: String! description: String createdAt: DateTime! updatedAt: DateTime! lastActivityTime: DateTime
  autoAuditNumberOfLabels: Int autoAuditPercentage: Float dataRowCount: Int editorTaskType: String isBenchmarkEnabled: Boolean
  isConsensusEnabled: Boolean allowedMediaType: String modelSetupComplete: Boolean setupComplete: DateTime uploadType: String
  batches(where: WhereUniqueIdInput, after: String, first: PageSize): BatchConnection!
}

input DataRowIdentifiersInput { ids: [ID!]! idType: IdType! }
input DataRowCustomMetadataDataRowIdentifiersInput { ids: [ID!]! idType: IdType! }
input DataRowCustomMetadataWhereInput { dataRowIdentifiers: DataRowCustomMetadataDataRowIdentifiersInput }
input MetadataValueInput { schemaId: ID! value: Json }
input DataRowCustomMetadataBatchUpsertInput { dataRowId: ID globalKey: ID fields: [MetadataValueInput!]! }
input DataRowIdentifierInput { id: ID! idType: IdType! }
input DataRowIdentifierCustomMetadataBatchDeleteInput { dataRowIdentifier: DataRowIdentifierInput! schemaIds: [ID!]! }
input MetadataOptionInput { id: ID name: String! kind: String! }
input UpsertCustomMetadataSchemaInput { id: ID name: String! kind: String! options: [MetadataOptionInput!] }
input CreateEmbeddingInput { name: String! dims: Int! }
input DeleteEmbeddingInput { id: ID! }
input SearchQueryInput { scope: Json query: [Json!] }
input CatalogFiltersInput { searchQuery: SearchQueryInput! }
input ProjectFiltersInput { projectId: ID! searchQuery: SearchQueryInput! }
input SliceFiltersInput { sliceId: ID! }
input ExportParamsInput {
  mediaTypeOverride: String includeAttachments: Boolean includeEmbeddings: Boolean includeMetadata: Boolean
  includeDataRowDetails: Boolean includeProjectDetails: Boolean includePerformanceDetails: Boolean includeLabelDetails: Boolean
  includeInterpolatedFrames: Boolean includePredictions: Boolean projectIds: [ID!] modelRunIds: [ID!] allProjects: Boolean
  allModelRuns: Boolean
}
input ExportDataRowsInCatalogInput {
  taskName: String filters: CatalogFiltersInput! isStreamableReady: Boolean params: ExportParamsInput! streamable: Boolean
}
input ExportDataRowsInProjectInput {
  taskName: String filters: ProjectFiltersInput! isStreamableReady: Boolean params: ExportParamsInput! streamable: Boolean
}
input ExportDataRowsInSliceInput {
  taskName: String filters: SliceFiltersInput! isStreamableReady: Boolean params: ExportParamsInput! streamable: Boolean
}
input CreateBatchInput { name: String! dataRowIds: [ID!] globalKeys: [ID!] priority: Int consensusSettings: Json }
input CreateEmptyBatchInput { name: String! consensusSettings: Json }
input AddDataRowsToBatchInput { batchId: ID! dataRowIds: [ID!] globalKeys: [ID!] priority: Int }
input QueuePriorityUpdateDataRowIdentifiersInput { ids: [ID!]! idType: IdType! }
input QueuePriorityUpdateInput { priority: Int! dataRowIdentifiers: QueuePriorityUpdateDataRowIdentifiersInput }

type ExportStarted { taskId: ID! isStreamable: Boolean! }
type Success { success: Boolean! }
type TaskStarted { taskId: ID! }
type BatchCreated { batch: Batch! failedDataRowIds: [ID!]! }
type EmptyBatch { id: ID! }
type DeletedBatch { deletedBatchId: ID! }
type ProjectMutation {
  createBatchV2(input: CreateBatchInput!): BatchCreated!
  createEmptyBatch(input: CreateEmptyBatchInput!): EmptyBatch!
  addDataRowsToBatchAsync(input: AddDataRowsToBatchInput!): TaskStarted!
  createQueuePriorityUpdateTask(data: QueuePriorityUpdateInput!): TaskStarted!
  removeQueuedDataRowsFromBatch(batchId: ID!): EmptyBatch!
  deleteBatch(batchId: ID!): DeletedBatch!
}
type Mutation {
  exportDataRowsInCatalog(input: ExportDataRowsInCatalogInput!): ExportStarted!
  exportDataRowsInProject(input: ExportDataRowsInProjectInput!): ExportStarted!
  exportDataRowsInSlice(input: ExportDataRowsInSliceInput!): ExportStarted!
  createEmbedding(data: CreateEmbeddingInput!): Embedding!
  deleteEmbedding(data: DeleteEmbeddingInput!): Boolean!
  upsertCustomMetadataSchema(data: UpsertCustomMetadataSchemaInput!): MetadataSchema!
  deleteCustomMetadataSchema(schema: WhereUniqueIdInput!): Success!
  upsertDataRowCustomMetadata(data: [DataRowCustomMetadataBatchUpsertInput!]!): [RowMetadataReply!]!
  deleteDataRowCustomMetadata(dataRowIdentifiers: [DataRowIdentifierCustomMetadataBatchDeleteInput!]): [RowMetadataReply!]!
  project(where: WhereUniqueIdInput!): ProjectMutation
}
"""

OPERATIONS = frozenset(
    """
    GetDatasetPyApi GetDatasetsPyApi GetProjectPyApi GetUserPyApi GetUserCreatedTasksPyApi CurrentUserPyApi GetOrganizationPyApi
    exportDataRowsInCatalogPyApi exportDataRowsInProjectPyApi exportDataRowsInSlicePyApi GetExportMetadataHeaderPyApi
    GetExportFileFromOffsetPyApi GetEmbeddingsPyApi CreateEmbeddingPyApi DeleteEmbeddingPyApi GetMetadataOntologyBetaPyApi
    UpsertCustomMetadataSchemaPyApi DeleteCustomMetadataSchemaPyApi UpsertDataRowMetadataBetaPyApi
    DeleteDataRowMetadataBetaPyApi dataRowCustomMetadataPyApi CheckAllDataRowsHaveBeenProcessedPyApi getSavedQueryPyApi
    GetCatalogSavedQueriesPyApi GetProjectBatchesPyApi getProjectBatchPyApi createBatchV2PyApi createEmptyBatchPyApi
    addDataRowsToBatchAsyncPyApi createQueuePriorityUpdateTaskPyApi RemoveQueuedDataRowsFromBatchPyApi DeleteBatchPyApi
    DatasetDataRowsPyApi getDataRowIdenfifiersBySavedQueryPyApi
    """.split()
)
"""What the SDK sends; anything else is refused."""

EXPERIMENTAL = frozenset(
    """
    GetProjectBatchesPyApi createBatchV2PyApi createEmptyBatchPyApi addDataRowsToBatchAsyncPyApi
    RemoveQueuedDataRowsFromBatchPyApi DeleteBatchPyApi
    """.split()
)
"""Operations that the SDK sends to /_gql and not to /graphql."""

WRITES = frozenset(
    """
    CreateEmbeddingPyApi DeleteEmbeddingPyApi UpsertCustomMetadataSchemaPyApi DeleteCustomMetadataSchemaPyApi
    UpsertDataRowMetadataBetaPyApi DeleteDataRowMetadataBetaPyApi createBatchV2PyApi createEmptyBatchPyApi
    addDataRowsToBatchAsyncPyApi createQueuePriorityUpdateTaskPyApi RemoveQueuedDataRowsFromBatchPyApi DeleteBatchPyApi
    """.split()
)
"""Operations that a read-only key may not call."""


def schema() -> GraphQLSchema:
    """The schema, built anew."""
    return build_schema(SDL)
