<?php

use App\Http\Middleware\Authorize;

return [
    'dashboard' => [
        'port' => env('LARAVEL_WEBSOCKETS_PORT', 7001),
        'domain' => env('LARAVEL_WEBSOCKETS_DOMAIN'),
        'path' => env('LARAVEL_WEBSOCKETS_PATH', 'laravel-websockets'),
        'middleware' => ['web', Authorize::class],
    ],

    'managers' => [
        'app' => \App\WebSockets\ConfigAppManager::class,
    ],

    /*
     * The apps.
     */
    'apps' => [
        [
            'id' => env('PUSHER_APP_ID'),
            'name' => env('APP_NAME', 'Shop'),
            'key' => env('PUSHER_APP_KEY'),
            'secret' => env('PUSHER_APP_SECRET'),
            'path' => env('PUSHER_APP_PATH'),
            'capacity' => null,
            'enable_client_messages' => false,
            'enable_statistics' => true,
            'allowed_origins' => ['shop.example.com'],
        ],
        [
            'id' => 'second',
            'key' => 'second-key',
            'secret' => 'second-secret',
            'capacity' => 1_000,
            'enable_client_messages' => true,
        ],
    ],

    'replication' => [
        'mode' => env('WEBSOCKETS_REPLICATION_MODE', 'local'),
        'modes' => [
            'redis' => [
                'connection' => env('WEBSOCKETS_REDIS_REPLICATION_CONNECTION', 'default'),
                'channel_manager' => \App\WebSockets\RedisChannelManager::class,
            ],
        ],
    ],

    'max_request_size_in_kb' => 250,

    'ssl' => [
        'local_cert' => env('LARAVEL_WEBSOCKETS_SSL_LOCAL_CERT', null),
        'verify_peer' => env('APP_ENV') === 'production',
    ],

    'audit' => storage_path('websockets.log'),
];
