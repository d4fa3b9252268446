// node main.js PORT REDIS_URL: what TypeScript makes of Nest's decorators, written by hand.
import "reflect-metadata";
import { Controller, Inject, Module, Sse } from "@nestjs/common";
import { NestFactory } from "@nestjs/core";
import { Redis } from "ioredis";
import { Subject } from "rxjs";

const [port, redisUrl] = process.argv.slice(2);

class Bus {
  events = new Subject();

  async onModuleInit() {
    const redis = new Redis(redisUrl);
    redis.on("message", (channel, message) => {
      const cut = message.indexOf(" ");
      const [id, data] = [message.slice(0, cut), message.slice(cut + 1)];
      this.events.next({ id, type: "server.status_changed", data });
    });
    await redis.subscribe("bench");
  }
}

class EventsController {
  constructor(bus) {
    this.bus = bus;
  }

  events() {
    return this.bus.events.asObservable();
  }
}
const events = Object.getOwnPropertyDescriptor(EventsController.prototype, "events");
Sse("events")(EventsController.prototype, "events", events);
Inject(Bus)(EventsController, undefined, 0);
Controller()(EventsController);

class AppModule {}
Module({ controllers: [EventsController], providers: [Bus] })(AppModule);

const app = await NestFactory.create(AppModule, { logger: ["error", "warn"] });
await app.listen(port, "127.0.0.1");
