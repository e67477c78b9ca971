"""What the existing Environment asks of S3, with the real boto3 and nothing but variables: objects.py EXECUTION OTHER.
Prints the parameters, then what came of each thing that must not be, then puts results."""
import gzip
import json
import os
import sys

import boto3
import botocore.exceptions

execution, other = sys.argv[1:]
bucket, prefix = os.environ["PARAMS_S3_BUCKET"], os.environ["PARAMS_S3_PREFIX"]
s3 = boto3.client("s3")
key = f"{prefix}/{execution}.json.gz"
size = s3.head_object(Bucket=bucket, Key=key)["ContentLength"]
packed = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
assert len(packed) == size, (len(packed), size)
s3.download_file(bucket, key, "params.json.gz")
with gzip.open("params.json.gz") as file:
    print(json.dumps(json.load(file)))


def told(what, call, **words):
    try:
        call(**words)
        print(what, "allowed")
    except botocore.exceptions.ClientError as error:
        print(what, error.response["ResponseMetadata"]["HTTPStatusCode"])


told("another's", s3.get_object, Bucket=bucket, Key=f"{prefix}/{other}.json.gz")
told("another bucket", s3.get_object, Bucket="elsewhere", Key=key)
told("change params", s3.put_object, Bucket=bucket, Key=key, Body=b"x")
told("list", s3.list_objects_v2, Bucket=bucket)
wrong = boto3.client("s3", aws_access_key_id=execution, aws_secret_access_key="0" * 64)
told("wrong secret", wrong.get_object, Bucket=bucket, Key=key)
results = gzip.compress(json.dumps({"type": "CloudResults", "data": [float("nan"), 1.5]}).encode())
s3.put_object(Bucket=bucket, Key=f"{prefix}/{execution}_results.json.gz", Body=results)
