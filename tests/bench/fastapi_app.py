"""POST /register as FastAPI's documentation has it, with two background tasks that do nothing; for web.sh."""

from fastapi import BackgroundTasks, FastAPI
from pydantic import BaseModel

app = FastAPI()


class Signup(BaseModel):
    email: str
    name: str


def record_signup(signup: Signup):
    pass


def send_email_notification(signup: Signup):
    pass


@app.post("/register", status_code=202)
async def register(signup: Signup, background_tasks: BackgroundTasks):
    background_tasks.add_task(record_signup, signup)
    background_tasks.add_task(send_email_notification, signup)
    return {"status": "accepted"}
